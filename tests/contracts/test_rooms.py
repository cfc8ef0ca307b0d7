"""Every room says in at most ten lines what lives in it, what it may import, how one is added."""

from __future__ import annotations

import ast

import pytest

from tests.processes import ROOT

PACKAGE = ROOT / "src" / "atrous"
ROOMS = sorted(
    str(path.parent.relative_to(PACKAGE))
    for path in PACKAGE.rglob("*/__init__.py")
    if path.relative_to(PACKAGE).parts[0] != "runtime"
)


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_says_what_it_holds_what_it_may_import_and_how_one_is_added(room):
    text = ast.get_docstring(ast.parse((PACKAGE / room / "__init__.py").read_text("utf-8")))
    assert len(text.splitlines()) <= 10
    assert "May import: " in text
    assert "A new " in text


def test_contributing_names_every_room_of_the_first_floor():
    table = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    missing = {room.split("/")[0] for room in ROOMS if f"`{room.split('/')[0]}`" not in table}
    assert not missing
