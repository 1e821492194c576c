"""The ASGI application of the first run: a page for each step, plain forms, one small script."""

from __future__ import annotations

import hmac
import re
import secrets
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import parse_qsl

import segno
from litestar.types import Receive, Send

from wellkeep.api import answers, headers
from wellkeep.api.answers import CSS, HTML, PLAIN, Answer
from wellkeep.api.console import shown
from wellkeep.api.problems import MalformedRequest
from wellkeep.api.setup.door import Door
from wellkeep.api.setup.journey import Journey, Order
from wellkeep.assembly.first_run import Stage
from wellkeep.base.errors import Forbidden, NotFound, WellkeepError
from wellkeep.keys.recovery import shares_needed
from wellkeep.web import rendering
from wellkeep.web import setup as pages
from wellkeep.web.setup import Around

_BYTES: Final = 16 * 1024
_SEE_OTHER: Final = 303
_SHARE: Final = re.compile(r"/shares/([0-9]{1,2})\.txt")
_FILES: Final = {
    "/files/wellkeep.css": CSS,
    "/files/console.css": CSS,
    "/files/setup.js": b"text/javascript; charset=utf-8",
    "/files/logo.svg": b"image/svg+xml",
}
_STAGES: Final = {
    "/begin": Stage.BEGIN,
    "/shares": Stage.SHARES,
    "/administrator": Stage.ADMINISTRATOR,
    "/password": Stage.FACTOR,
    "/factor": Stage.FACTOR,
    "/provider": Stage.PROVIDER,
    "/proof": Stage.PROOF,
    "/finish": Stage.PROVEN,
}
_LONG: Final = frozenset({Stage.BEGIN, Stage.PROOF})
_REFERRER: Final = (b"referrer-policy", b"same-origin")
"""So that a browser says which page sent a form; no address of ours holds anything."""


class SetupApplication:
    """Serves one first run to one browser."""

    def __init__(self, journey: Journey, door: Door) -> None:
        """Show how far `journey` is to whom `door` lets in."""
        self._journey = journey
        self._door = door

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        try:
            answer = await self._answer(scope, receive)
        except WellkeepError as error:
            answer = Answer(error.status, error.message.encode(), media=PLAIN)
        kept = [one for one in headers.SECURITY if one[0] not in {name for name, _ in answer.headers}]
        kept = [_REFERRER if one[0] == _REFERRER[0] else one for one in kept]
        answer.headers = [*answer.headers, *kept]
        await answer(scope, receive, send)

    async def _answer(self, scope: Any, receive: Receive) -> Answer:
        found, method, path = headers.known(scope["headers"]), scope["method"], scope["path"]
        self._door.check(found, method)
        if method == "POST":
            return await self._post(path, _form(await _body(receive)), found, scope)
        if method != "GET":
            raise NotFound
        if path in _FILES:
            return Answer(200, rendering.static(path.rpartition("/")[2]), media=_FILES[path])
        if not self._door.knows(found):
            if path != "/":
                raise Forbidden("Open the printed address first")
            return _page(pages.opening, step=-1)
        return self._get(path)

    def _get(self, path: str) -> Answer:
        journey = self._journey
        if path == "/":
            return self._show()
        if path == "/progress":
            return answers.json({"busy": journey.busy, "told": journey.told})
        share = _SHARE.fullmatch(path)
        if share is None or not 1 <= int(share[1]) <= len(journey.shares):
            raise NotFound
        named = f'attachment; filename="wellkeep-share-{int(share[1])}.txt"'.encode("ascii")
        text = journey.shares[int(share[1]) - 1].reveal() + "\n"
        return Answer(200, text.encode(), media=PLAIN, headers=((b"content-disposition", named),))

    async def _post(self, path: str, form: dict[str, str], found: dict[bytes, bytes], scope: Any) -> Answer:
        if path == "/open":
            return _back(self._door.open(form.get("secret", "")))
        if not self._door.knows(found):
            raise Forbidden("Open the printed address first")
        stage, journey = _STAGES.get(path), self._journey
        if stage is None:
            raise NotFound
        if stage is Stage.SHARES and not self._kept(form.get("share", "")):
            journey.wrong = "This is none of the shares below. Type it back from where you keep it."
            return _back()
        ip = scope["client"][0] if scope.get("client") else None
        await journey.ask(Order(stage=stage, form=form, ip=ip), wait=stage not in _LONG)
        return self._show() if stage is Stage.PROVEN else _back()

    def _kept(self, typed: str) -> bool:
        words = " ".join(typed.lower().split()).encode("utf-8", "surrogatepass")
        return any([hmac.compare_digest(words, one.reveal().encode()) for one in self._journey.shares])  # noqa: C419

    def _show(self) -> Answer:
        journey = self._journey
        run = journey.run
        step, wrong = min(int(run.stage), 5), journey.wrong
        if journey.busy:
            return _page(pages.working, journey.told, step=step)
        if run.stage is Stage.OVER:
            return _page(pages.over, step=step + 1, site=self._site())
        make, told = self._pages()[run.stage]
        return _page(make, step=step, wrong=wrong, **told)

    def _pages(self) -> dict[Stage, tuple[Any, dict[str, Any]]]:
        """Return the page of each step, and what it is told beside its frame."""
        journey = self._journey
        home, noted, found = journey.run.home, journey.run.noted, journey.shares
        fixed = home.settings().environment if home.settings_file.exists() else ""
        shares = {"found": [one.reveal() for one in found], "needed": shares_needed(found[0]) if found else 0}
        return {
            Stage.BEGIN: (pages.begin, {"fixed": fixed, "place": str(home.path)}),
            Stage.SHARES: (pages.shares, shares),
            Stage.ADMINISTRATOR: (pages.administrator, {"tenant": noted.tenant_name}),
            Stage.FACTOR: (pages.factor, self._app()),
            Stage.PROVIDER: (pages.provider, {"tenant": noted.tenant_name}),
            Stage.PROOF: (pages.proof, {}),
            Stage.PROVEN: (pages.proven, {"told": journey.told}),
        }

    def _site(self) -> str:
        settings = self._journey.run.home.settings()
        return f"https://{settings.host}:{settings.listen.public.rpartition(':')[2]}"

    def _app(self) -> dict[str, str]:
        planned = self._journey.planned
        if planned is None:
            return {"secret": "", "qr": ""}
        qr = segno.make_qr(planned.uri, error="m").svg_data_uri(scale=4, light="#fff")
        return {"secret": planned.secret, "qr": qr}


def _page(make: Callable[..., bytes], *told: object, step: int, wrong: str = "", **named: object) -> Answer:
    around = Around(nonce=secrets.token_urlsafe(16), step=step, wrong=wrong)
    return Answer(200, make(around, *told, **named), media=HTML, headers=(shown.policy(around.nonce),))


def _back(*more: tuple[bytes, bytes]) -> Answer:
    return Answer(_SEE_OTHER, headers=((b"location", b"/"), *more))


async def _body(receive: Receive) -> bytes:
    """Return the body of a form. Raises MalformedRequest where it is too long."""
    body = b""
    while len(body) <= _BYTES:
        message: Any = await receive()
        piece: bytes = message.get("body", b"")
        body += piece
        if not message.get("more_body", False):
            return body
    raise MalformedRequest("The form is too long")


def _form(body: bytes) -> dict[str, str]:
    try:
        pairs = parse_qsl(body.decode("ascii"), keep_blank_values=True, max_num_fields=16, errors="strict")
    except ValueError:
        raise MalformedRequest("The body is no form") from None
    if len(dict(pairs)) != len(pairs):
        raise MalformedRequest("The form has a member twice")
    return dict(pairs)
