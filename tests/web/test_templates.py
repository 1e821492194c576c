"""Promise: what somebody types into a page is never put into an address, whether its script ran or not."""

from __future__ import annotations

import re
from importlib import resources

import pytest

TEMPLATES = sorted(
    (one.name, one.read_text("utf-8"))
    for one in resources.files("wellkeep.web").joinpath("templates").iterdir()
    if one.name.endswith(".html")
)
SHOWN = (
    *('action="/console/ledger"', 'action="/sign-in/provider"'),
    *('action="/console/records/{{ collection.name }}"', 'action="{{ path }}"'),
)
"""Where a form asks by an address: for ids, times and the words of closed lists."""


@pytest.mark.parametrize(("name", "text"), TEMPLATES, ids=[name for name, _ in TEMPLATES])
def test_each_form_says_how_it_is_sent(name: str, text: str) -> None:
    for form in re.findall(r"<form[^>]*>", text):
        sent = re.search(r'method="(\w+)"', form)
        assert sent is not None, (name, form)
        if sent[1] != "post":
            assert any(one in form for one in SHOWN), (name, form)


@pytest.mark.parametrize(("name", "text"), TEMPLATES, ids=[name for name, _ in TEMPLATES])
def test_no_page_brings_a_script_or_a_style_of_its_own(name: str, text: str) -> None:
    assert re.findall(r"<style|\sstyle=|\son[a-z]+=|javascript:", text) == [], name
    ours = re.compile(r'<script nonce="{{ (frame|around)\.nonce }}" src="(/console)?/files/[a-z-]+\.js" defer>')
    assert all(ours.fullmatch(one) for one in re.findall(r"<script[^>]*>", text)), name
