"""One change to one attribute of one layer, as it is shown to the user."""

from __future__ import annotations

from dataclasses import dataclass

from atrous.shown import Shown

__all__ = ["Edit"]


@dataclass(frozen=True, slots=True)
class Edit(Shown):
    """`attribute` of `layer` was `before` and is `after`; None where there was or is none.

    >>> print(Edit("layer4.0.conv2", "stride", (2, 2), (1, 1)))
    layer4.0.conv2: stride (2, 2) -> (1, 1)
    """

    layer: str
    attribute: str
    before: object
    after: object

    def to_dict(self) -> dict[str, object]:
        """Plain data."""
        return {
            "layer": self.layer,
            "attribute": self.attribute,
            "before": _plain(self.before),
            "after": _plain(self.after),
        }

    def __str__(self) -> str:
        before = "none" if self.before is None else self.before
        after = "none" if self.after is None else self.after
        return f"{self.layer}: {self.attribute} {before} -> {after}"


def _plain(value: object) -> object:
    if isinstance(value, tuple):
        return list(value)
    return value if isinstance(value, int | float | str | bool) or value is None else str(value)
