"""The accounting of disclosures as one page to print, in words for whoever it is about.

Rules: everything is escaped; the page loads nothing and runs nothing, so it is the same kept on a disk or on paper; a
state is a word, never a colour alone. It holds what the ledger holds: no name of the patient, no value.
"""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import groupby

from wellkeep.api.disclosure_style import POLICY_TEXT, STYLE
from wellkeep.api.disclosure_summary import Row, bars, by_purpose, by_who, totals
from wellkeep.assembly.disclosures import MOST_AT_ONCE, Accounting, Disclosure

POLICY = (b"content-security-policy", f"{POLICY_TEXT}; frame-ancestors 'none'".encode())
"""The page's own policy, as a header."""

_MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MARKS = {
    "denied": '<span class="mark refused">⊘ Refused</span>',
    "failed": '<span class="mark undone">! Not done</span>',
}


def render(accounting: Accounting, *, complete: bool) -> bytes:
    """Return the page; where it is not `complete`, it says so and how to see the rest."""
    return "".join(_page(accounting, complete=complete)).encode()


def _page(accounting: Accounting, *, complete: bool) -> Iterator[str]:
    told = accounting.disclosures
    yield '<!doctype html><html lang="en"><head><meta charset="utf-8">'
    yield f'<meta http-equiv="Content-Security-Policy" content="{_text(POLICY_TEXT)}">'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="robots" content="noindex">'
    yield f"<title>Who has used your records</title><style>{STYLE}</style></head><body><main>"
    yield from _head(accounting)
    if not complete:
        yield from _incomplete(told)
    if told:
        yield from _overview(told)
    else:
        yield '<p class="notice">In this time nothing was recorded about you.</p>'
    for day, items in groupby(told, key=lambda one: one.time.astimezone(UTC).date()):
        yield from _day(day, list(items))
    yield from _about(accounting)
    yield "</main></body></html>"


def _head(accounting: Accounting) -> Iterator[str]:
    until = accounting.until or accounting.made_at
    yield '<header><p class="kind">Accounting of disclosures · 45 CFR 164.528</p><h1>Who has used your records</h1>'
    yield f"<p>Everything that was recorded from <strong>{_when(accounting.since)}</strong> "
    yield f"to <strong>{_when(until)}</strong>, the newest first. All times are UTC.</p>"
    yield f'<p class="soft">Your file number: <span class="number">{accounting.subject}</span>'
    for merged in accounting.merged:
        yield f'<br>joined with it: <span class="number">{merged}</span>'
    yield f"<br>Made on {_when(accounting.made_at)}</p></header>"


def _incomplete(told: Sequence[Disclosure]) -> Iterator[str]:
    """Say what to ask for next: up to the next minute, for entries of one batch have one time and may be cut apart."""
    oldest = told[-1].time.replace(second=0, microsecond=0)
    following = oldest + timedelta(minutes=1)
    yield '<p class="notice"><strong>This is not all of it.</strong> '
    yield f"Here are the newest {MOST_AT_ONCE:,} entries, back to {_when(oldest)}. "
    yield f"Ask for another accounting until <strong>{_when(following)}</strong> to see what was before; "
    yield "a few lines may stand in both.</p>"


def _overview(told: Sequence[Disclosure]) -> Iterator[str]:
    sums = totals(told)
    people = len({(one.who.type, one.who.id) for one in told})
    yield '<dl class="cards">'
    yield _card("Read", sums.read, "times your data was shown to somebody")
    yield _card("Changed", sums.changed, "times something was stored, changed or deleted")
    yield _card("Stopped", sums.stopped, "attempts that were refused or did not succeed")
    yield _card("By", people, "program or person" if people == 1 else "programs and people")
    yield "</dl>"
    yield from _strip(told)
    yield "<h2>By whom</h2>"
    yield from _table("Who", by_who(told))
    yield "<h2>For what</h2>"
    yield from _table("Purpose", by_purpose(told))
    yield '<p class="soft">Looked up: your file number or this record of use, no content of yours. Stopped: refused, '
    yield "or not done. A role says what a program may do.</p>"
    yield "<h2>Day by day</h2>"


def _card(title: str, number: int, meaning: str) -> str:
    return f'<div class="card"><dt>{title}</dt><dd>{number:,}<small>{meaning}</small></dd></div>'


def _strip(told: Sequence[Disclosure]) -> Iterator[str]:
    """Draw how much happened when; the days below say the same in words, and of one day alone."""
    heights, unit = bars([one.time.astimezone(UTC).date() for one in told])
    if len(heights) == 1:
        return
    first, last = _date(told[-1].time.astimezone(UTC).date()), _date(told[0].time.astimezone(UTC).date())
    most = max(heights)
    said = f"Entries per {unit} from {first} to {last}, at most {most:,}"
    yield f'<div class="card strip"><svg class="bars" role="img" aria-label="{_text(said)}" '
    yield f'viewBox="0 0 {len(heights) * 10} 40" preserveAspectRatio="none">'
    for place, height in enumerate(heights):
        if height:
            tall = max(2.0, 40 * height / most)
            yield f'<rect x="{place * 10 + 1}" y="{40 - tall:.1f}" width="8" height="{tall:.1f}"/>'
    yield f"</svg><p><span>{first}</span><span>entries per {unit}, at most {most:,}</span><span>{last}</span></p></div>"


def _table(title: str, rows: Sequence[Row]) -> Iterator[str]:
    yield f'<div class="card wide" role="region" tabindex="0" aria-label="{title}, in numbers">'
    yield f'<table class="sums"><thead><tr><th scope="col">{title}</th>'
    yield '<th scope="col" class="n">Read</th><th scope="col" class="n">Changed</th>'
    yield '<th scope="col" class="n">Looked up</th><th scope="col" class="n">Stopped</th>'
    yield '<th scope="col">Last</th></tr></thead><tbody>'
    for row in rows:
        numbers = "".join(f'<td class="n{"" if number else " none"}">{number:,}</td>' for number in row.sums)
        yield f'<tr><th scope="row">{_text(_sentence(row.name))}</th>{numbers}<td>{_short(row.last)}</td></tr>'
    yield "</tbody></table></div>"


def _day(day: date, items: Sequence[Disclosure]) -> Iterator[str]:
    refused = Counter(one.outcome for one in items)["denied"]
    counted = f"{len(items):,} {'entry' if len(items) == 1 else 'entries'}"
    counted += f", {refused:,} refused" if refused else ""
    yield f'<section class="card day"><h3>{_DAYS[day.weekday()]}, {_date(day)}'
    yield f' <span class="soft">· {counted}</span></h3><ol>'
    for one in items:
        moment = one.time.astimezone(UTC)
        yield f'<li><time datetime="{moment:%Y-%m-%dT%H:%M:%SZ}">{moment:%H:%M:%S}</time><div><p>'
        yield _MARKS.get(one.outcome, "")
        yield f"{_text(_sentence(one.who.words))} {_text(one.what.words)} — for {_text(one.why.words)}.</p>"
        yield f'<p class="meta">{_meta(one)}</p></div></li>'
    yield "</ol></section>"


def _meta(one: Disclosure) -> str:
    parts = [f"entry {one.epoch}/{one.seq}", f'<span class="number">{_text(one.id)}</span>']
    if one.who.on_behalf_of is not None:
        parts.insert(0, f'on behalf of <span class="number">{_text(one.who.on_behalf_of)}</span>')
    if one.ip is not None:
        parts.insert(0, f"from {_text(one.ip)}")
    return " · ".join(parts)


def _about(accounting: Accounting) -> Iterator[str]:
    yield '<h2>About this report</h2><div class="card about"><h3>What it covers</h3>'
    yield "<p>Each time a program or a person read, stored, changed, deleted, exported or tried to reach your records "
    yield "in this system. That is more than the law asks for: uses for treatment, payment and running the service are "
    yield "here, too, and so are attempts that were refused. Where the records of many were used at once, only what "
    yield "concerns you is told.</p><h3>What it does not cover</h3>"
    yield "<p>Paper, telephone and other systems; what somebody did with your data after they had received it; and the "
    yield f"time before {_when(accounting.since)}.</p><h3>How to check it</h3>"
    yield "<p>Each line names its entry, by number and id, in a ledger made so that a later edit of it shows. "
    yield "Ask for the proof of any entry by its id. The proof shows that the entry stands in the ledger as it "
    yield "was written, and it can be checked with free tools that are not ours.</p><h3>What it gives away</h3>"
    yield "<p>No name of yours, no diagnosis, and no value of any field: only who did what, when and why.</p>"
    yield "<h3>If something is wrong</h3><p>Show this page to the privacy officer of whoever keeps your records. An "
    yield "entry that you can't explain is a reason to ask.</p></div>"


def _when(moment: datetime) -> str:
    at = moment.astimezone(UTC)
    return f"{_date(at.date())}, {at:%H:%M}"


def _short(moment: datetime) -> str:
    at = moment.astimezone(UTC)
    return f"{at.day} {_MONTHS[at.month - 1][:3]} {at.year}, {at:%H:%M}"


def _date(day: date) -> str:
    return f"{day.day} {_MONTHS[day.month - 1]} {day.year}"


def _sentence(words: str) -> str:
    return words[:1].upper() + words[1:]


def _text(value: object) -> str:
    return html.escape(str(value))
