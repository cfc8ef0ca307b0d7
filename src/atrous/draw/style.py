"""The sheet that report pages and the explorer share: colours, type, controls, tables."""

from __future__ import annotations

import re
from functools import cache
from typing import Literal

__all__ = ["inks", "style_sheet"]

_INK = re.compile(r"--([a-z-]+): light-dark\((#[0-9a-f]{6}), (#[0-9a-f]{6})\);")


@cache
def style_sheet() -> str:
    """The CSS of `style.css`: custom properties and base rules, without anything to load."""
    from importlib.resources import files

    return files("atrous.draw").joinpath("style.css").read_text(encoding="utf-8")


@cache
def inks(theme: Literal["light", "dark"] = "light") -> dict[str, str]:
    """The colours of the sheet, by their names in it.

    >>> inks()["seen"], inks("dark")["seen"]
    ('#c2410c', '#ff9d5c')
    """
    place = 1 if theme == "light" else 2
    return {found[1]: found[1 + place] for found in _INK.finditer(style_sheet())}
