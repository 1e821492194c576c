"""What the console's pages load: style sheets, the one script, the mark."""

from __future__ import annotations

from typing import Final

from wellkeep.api.answers import CSS, Answer
from wellkeep.api.routes import Call, Route
from wellkeep.base.errors import NotFound
from wellkeep.web import rendering

_SCRIPT: Final = b"text/javascript; charset=utf-8"
_MEDIA: Final = {
    "wellkeep.css": CSS,
    "console.css": CSS,
    "console.js": _SCRIPT,
    "console-records.js": _SCRIPT,
    "console-transfers.js": _SCRIPT,
    "logo.svg": b"image/svg+xml",
}


async def show(call: Call) -> Answer:
    """Return one of them; raises NotFound for any other name."""
    name = call.path["file"]
    media = _MEDIA.get(name)
    if media is None:
        raise NotFound
    return Answer(200, rendering.static(name), media=media)


FILES = (
    Route(
        method="GET",
        path="/console/files/{file}",
        name="console_file",
        summary="What the console's pages load",
        tag="console",
        serve=show,
        weight=0,
        open_because="it is the same for everybody, and part of the published source",
        answer_media="text/css",
        problems=(NotFound,),
    ),
)
