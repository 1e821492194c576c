"""The certificate of an erasure as one page to print, in words for whoever it is about.

Rules: everything is escaped; the page loads nothing and runs nothing, so it is the same kept on a disk or on paper;
that copies can still be opened stands first, in words, as long as it is so.
"""

from __future__ import annotations

import html
from collections.abc import Iterator
from datetime import UTC, datetime

from wellkeep.api.disclosure_style import POLICY_TEXT, STYLE
from wellkeep.vault.erasure_certificate import Certificate

POLICY = (b"content-security-policy", f"{POLICY_TEXT}; frame-ancestors 'none'".encode())
"""The page's own policy, as a header."""

_WHAT = {
    "keys": "keys, without which nothing of it opens",
    "subjects": "people",
    "records": "records",
    "revisions": "earlier states of records",
    "tags": "entries of search indexes",
    "answers": "kept answers to repeated requests",
    "imports": "imports whose files could hold a line about it",
    "exports": "exports that held a record of it",
    "files": "files of imports and exports",
    "reasons": "sealed reasons in words",
}


def render(certificate: Certificate) -> bytes:
    """Return the page."""
    return "".join(_page(certificate)).encode()


def _page(made: Certificate) -> Iterator[str]:
    yield '<!doctype html><html lang="en"><head><meta charset="utf-8">'
    yield f'<meta http-equiv="Content-Security-Policy" content="{_text(POLICY_TEXT)}">'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="robots" content="noindex">'
    yield f"<title>Certificate of erasure</title><style>{STYLE}</style></head><body><main>"
    yield '<header><p class="kind">Certificate of erasure · GDPR Art. 17</p><h1>What was kept has been erased</h1>'
    yield f"<p>On <strong>{_when(made.erased_at)}</strong> (UTC) all that follows was erased from the live system.</p>"
    yield '<p class="soft">'
    yield "The whole customer" if made.subject is None else "File number"
    yield f': <span class="number">{made.tenant if made.subject is None else made.subject}</span>'
    for joined in made.subjects:
        if joined != made.subject:
            yield f'<br>joined with it: <span class="number">{joined}</span>'
    yield f"<br>Made on {_when(made.made_at)}</p></header>"
    mark = "" if made.effective.state == "effective" else '<span class="mark undone">! Not yet everywhere</span>'
    yield f'<p class="notice">{mark}<strong>{_text(made.effective.words)}</strong></p>'
    if not made.swept:
        yield '<p class="notice">Rows that nothing opens any more are still being removed.</p>'
    yield from _covered(made)
    yield from _about(made)
    yield "</main></body></html>"


def _covered(made: Certificate) -> Iterator[str]:
    yield '<h2>What was erased</h2><div class="card wide"><table class="sums"><thead><tr><th scope="col">What</th>'
    yield '<th scope="col" class="n">How many</th></tr></thead><tbody>'
    for name, number in sorted(made.covered.items()):
        yield f'<tr><th scope="row">{_text(_WHAT.get(name, name))}</th><td class="n">{number:,}</td></tr>'
    yield "</tbody></table></div>"
    if made.again:
        yield '<p class="soft">An older copy of the database had been put back; this was erased from it once more.</p>'


def _about(made: Certificate) -> Iterator[str]:
    yield '<h2>About this certificate</h2><div class="card about"><h3>What it does not cover</h3>'
    for line in made.not_covered:
        yield f"<p>{_text(line)}</p>"
    yield "<h3>How to check it</h3><p>The erasure is an entry of a ledger made so that a later edit of it shows: "
    yield f'<span class="number">{made.entry.id}</span>'
    if made.entry.seq is not None:
        yield f', number {made.entry.seq:,} of <span class="number">{_text(made.entry.log)}</span>'
    yield f'. Whoever keeps the system gives its proof with: <span class="number">{_text(made.entry.verify)}</span></p>'
    yield "</div>"


def _when(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d, %H:%M}"


def _text(value: object) -> str:
    return html.escape(str(value))
