"""One change to one attribute of one layer, as it is shown to the user, and those of a plan."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from atrous.conversion.plan import Plan, Resampled
from atrous.errors import clean
from atrous.network.ops import Conv, ConvTranspose, Op, Pool
from atrous.shown import Shown

__all__ = ["Edit", "plan_edits", "resampled_edit"]


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
            "before": _json(self.before),
            "after": _json(self.after),
        }

    def __str__(self) -> str:
        before = "none" if self.before is None else self.before
        after = "none" if self.after is None else self.after
        return clean(f"{self.layer}: {self.attribute} {before} -> {after}")


def _json(value: object) -> object:
    if isinstance(value, tuple):
        return list(value)
    return value if isinstance(value, int | float | str | bool) or value is None else str(value)


def plan_edits(plan: Plan) -> tuple[Edit, ...]:
    """One edit for each attribute of an op that changes, windows by stride, dilation, padding.

    A join whose inputs are resampled has one for each of these.
    """
    found: list[Edit] = []
    for change in plan.changes:
        before, after = _described(change.before), _described(change.after)
        found += [
            Edit(change.node, name, before.get(name), value)
            for name, value in after.items()
            if before.get(name) != value
        ]
    found += [resampled_edit(one) for one in plan.resampled]
    return tuple(found)


def resampled_edit(one: Resampled) -> Edit:
    """What is said of an input of a join that is resampled."""
    return Edit(one.join, "resample", None, str(one))


def _described(op: Op) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for entry in fields(op):
        value = getattr(op, entry.name)
        if entry.name == "windows" and isinstance(op, Conv | ConvTranspose | Pool):
            found["stride"], found["dilation"] = op.stride, op.dilation
            found["padding"] = tuple(lo if lo == hi else (lo, hi) for lo, hi in op.padding)
        else:
            found[entry.name] = value
    return found
