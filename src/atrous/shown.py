"""How records that are one line of text show in notebooks."""

from __future__ import annotations

from html import escape

__all__ = ["Shown"]


class Shown:
    """A record whose notebook form is its text, escaped."""

    __slots__ = ()

    def _repr_html_(self) -> str:
        return f"<pre>{escape(str(self))}</pre>"
