"""The sheet that report pages and the explorer share: colours, type, controls, tables."""

from __future__ import annotations

from functools import cache

__all__ = ["style_sheet"]


@cache
def style_sheet() -> str:
    """The CSS of `style.css`: custom properties and base rules, without anything to load."""
    from importlib.resources import files

    return files("atrous.draw").joinpath("style.css").read_text(encoding="utf-8")
