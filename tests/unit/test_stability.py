"""The page on stability names what there is: schemas, commands, groups of entry points."""

from __future__ import annotations

import re
from typing import get_args

import pytest

from atrous.cli.app import app
from atrous.plugins import Group
from tests.processes import ROOT

PAGE = (ROOT / "docs" / "stability.md").read_text(encoding="utf-8")
SCHEMA = re.compile(r"atrous\.[a-z_]+/\d+")


def written() -> set[str]:
    """Every schema that stands in the code."""
    found: set[str] = set()
    for path in (ROOT / "src" / "atrous").rglob("*.py"):
        found.update(re.findall(r"\"(atrous\.[a-z_]+/\d+)\"", path.read_text(encoding="utf-8")))
    return found


def assert_page_is_right(page: str) -> None:
    assert set(SCHEMA.findall(page)) == written()
    named = re.search(r"^The commands are (.*)\.$", page, re.MULTILINE)
    assert named is not None
    commands = [one.name or one.callback.__name__ for one in app.registered_commands]
    assert re.findall(r"`([a-z]+)`", named[1]) == commands
    groups = re.search(r"^- \*\*Entry points\*\*: the groups (.*?)\. ", page, re.MULTILINE)
    assert groups is not None
    assert set(re.findall(r"`(atrous\.\w+)`", groups[1])) == set(get_args(Group))


def test_the_page_names_every_schema_command_and_group():
    assert_page_is_right(PAGE)


@pytest.mark.parametrize(
    ("there", "instead"),
    [
        ("atrous.rates/1", "atrous.rates/2"),
        ("| `atrous.zoo/1` | `atrous zoo` |\n", ""),
        ("`learn` and `explore`", "`learn`"),
        ("`atrous.jax_ops`", "`atrous.other_ops`"),
    ],
)
def test_a_page_that_is_wrong_is_noticed(there, instead):
    assert there in PAGE
    with pytest.raises(AssertionError):
        assert_page_is_right(PAGE.replace(there, instead))
