"""The picture of a terminal in the README is what the command prints now."""

from __future__ import annotations

import html
import importlib.util
import re

import atrous
from atrous.report import ComparisonView, Look
from tests.processes import ROOT


def words(text: str) -> list[str]:
    return text.replace("\u00a0", " ").split()


def test_the_picture_shows_what_is_printed_and_refers_to_nothing_outside():
    drawn = (ROOT / "docs" / "compare.svg").read_text(encoding="utf-8")
    assert set(re.findall(r"https?://[^\"' )]+", drawn)) == {"http://www.w3.org/2000/svg"}
    shown = [html.unescape(text) for text in re.findall(r"<text[^>]*>([^<]*)</text>", drawn)]
    printed = ComparisonView(atrous.compare(input=(1, 3, 512, 512))).text(Look(100))
    found = words(" ".join(shown))
    assert found[-len(words(printed)) :] == words(printed)


def test_the_script_draws_the_picture():
    path = ROOT / "docs" / "picture.py"
    spec = importlib.util.spec_from_file_location("picture", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.picture().startswith("<svg")
