"""The style of the printed accounting: it stands in the page itself, so that the page is whole where it is kept.

Rule: the page's policy names the hash of exactly this text (CSP 3, 6.7.3.3): no other style runs, and no script at all.
"""

from __future__ import annotations

import base64
import hashlib

STYLE = """
:root { color-scheme: light dark; --paper: #fbfcfd; --card: #fff; --ink: #14202b; --soft: #55636f; --line: #dde3e8;
  --calm: #146c4b; --calm-ground: #e3f1ea; --stop: #9b2c1d; --stop-ground: #fbe7e2; --care: #8a5300;
  --care-ground: #fdf0d8; }
@media (prefers-color-scheme: dark) { :root { --paper: #0f161c; --card: #161f27; --ink: #e8eef2; --soft: #a0aeb9;
  --line: #2b3843; --calm: #6fcf9f; --calm-ground: #15352a; --stop: #f2a091; --stop-ground: #43201a; --care: #f0c069;
  --care-ground: #3b2d10; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.5 system-ui, -apple-system, "Segoe UI",
  Roboto, "Helvetica Neue", "Liberation Sans", Arial, sans-serif; }
main { max-width: 60rem; margin: 0 auto; padding: 2.5rem 1.25rem 4rem; }
h1 { font-size: 2rem; line-height: 1.2; letter-spacing: -.02em; margin: .25rem 0 .5rem; }
h2 { font-size: 1.25rem; margin: 2.5rem 0 .75rem; letter-spacing: -.01em; }
h3 { font-size: 1rem; margin: 0; padding: .75rem 1rem; border-bottom: 1px solid var(--line); }
p { margin: .25rem 0 .75rem; max-width: 44rem; }
.kind { color: var(--calm); font-weight: 600; font-size: .9rem; margin: 0; }
.soft { color: var(--soft); }
.number { font-family: ui-monospace, "SF Mono", "DejaVu Sans Mono", Menlo, monospace; font-size: .85em;
  overflow-wrap: anywhere; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(11rem, 1fr)); gap: .75rem; margin: 1.5rem 0; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 10px; }
.cards .card { padding: .9rem 1.1rem; }
.cards dt { color: var(--soft); font-size: .9rem; }
.cards dd { margin: 0; font-size: 1.75rem; font-weight: 700; line-height: 1.3; font-variant-numeric: tabular-nums; }
.cards dd small { display: block; font-size: .8rem; font-weight: 400; color: var(--soft); line-height: 1.4; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .95rem; }
th, td { text-align: left; vertical-align: top; padding: .55rem 1rem; border-top: 1px solid var(--line); }
thead th { border-top: 0; color: var(--soft); font-weight: 600; font-size: .85rem; }
tbody th { font-weight: 600; overflow-wrap: anywhere; }
.sums { table-layout: fixed; min-width: 40rem; }
.sums th:first-child { width: 34%; } .sums th:last-child { width: 23%; }
.sums .none { color: var(--soft); }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; }
.bars { display: block; width: 100%; height: 4.5rem; }
.bars rect { fill: var(--calm); }
.strip { padding: 1rem 1.1rem .6rem; }
.strip p { display: flex; justify-content: space-between; gap: .75rem; font-size: .85rem; color: var(--soft);
  margin: .35rem 0 0;
  max-width: none; }
.day { margin: 0 0 1rem; }
.day ol { list-style: none; margin: 0; padding: 0; }
.day li { display: grid; grid-template-columns: 5.5rem 1fr; padding: .7rem 1rem; border-top: 1px solid var(--line); }
.day li:first-child { border-top: 0; }
.day time { color: var(--soft); font-variant-numeric: tabular-nums; }
.day p { margin: 0; max-width: none; }
.day .meta { font-size: .8rem; color: var(--soft); }
.mark { display: inline-block; border-radius: 99px; padding: 0 .55rem; font-size: .8rem; font-weight: 600;
  margin-right: .3rem; white-space: nowrap; }
.refused { color: var(--stop); background: var(--stop-ground); }
.undone { color: var(--care); background: var(--care-ground); }
.notice { border-left: 4px solid var(--care); border-radius: 6px; padding: .75rem 1rem; background: var(--care-ground);
  max-width: none; }
.about { padding: .25rem 1.1rem 1rem; } .about h3 { border: 0; padding: 0; margin: 1rem 0 .25rem; }
@media (max-width: 30rem) { .day li { grid-template-columns: 1fr; } th, td { padding: .5rem .6rem; } }
@media print {
  :root { color-scheme: light; --paper: #fff; --card: #fff; --ink: #000; --soft: #444; --line: #bbb; --calm: #146c4b;
    --stop: #8c2416; --stop-ground: #fff; --care: #6d4200; --care-ground: #fff; }
  @page { margin: 16mm 15mm; }
  body { font-size: 10pt; } main { max-width: none; padding: 0; } h1 { font-size: 20pt; }
  .mark { border: 1px solid currentColor; } .bars rect { print-color-adjust: exact; }
  .cards { grid-template-columns: repeat(4, 1fr); } .wide { overflow: visible; } .sums { min-width: 0; }
  th, td { padding: .4rem .6rem; }
  .day li, .card tr, .cards .card, .strip, .notice { break-inside: avoid; } h2, h3 { break-after: avoid; }
  thead { display: table-header-group; }
}
"""

POLICY_TEXT = (
    "default-src 'none'; "
    f"style-src 'sha256-{base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()}'; "
    "base-uri 'none'; form-action 'none'"
)
"""What the page may load, for its own head: nothing but its style. `frame-ancestors` counts in a header alone."""
