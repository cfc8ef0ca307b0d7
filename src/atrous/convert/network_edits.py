"""The changes of a plan as edits, for networks that are data."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from atrous.convert.edits import Edit
from atrous.convert.records import Plan, Resampled
from atrous.network.ops import Conv, ConvTranspose, Op, Pool

__all__ = ["network_edits", "resampled_edit"]


def network_edits(plan: Plan) -> tuple[Edit, ...]:
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
            found["stride"] = tuple(w.stride for w in value)
            found["dilation"] = tuple(w.dilation for w in value)
            found["padding"] = tuple(
                w.pad_lo if w.pad_lo == w.pad_hi else (w.pad_lo, w.pad_hi) for w in value
            )
        else:
            found[entry.name] = value
    return found
