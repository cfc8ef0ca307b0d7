"""Schedules that see as far as a stack, without holes, for no more, and what they have over it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from atrous.analysis import Inspection
from atrous.conversion.degridding import plan_degridding
from atrous.conversion.plan import OpChange
from atrous.explore.draft import Draft
from atrous.network.ops import Conv
from atrous.refusal import Refusal
from atrous.shown import how_many

__all__ = ["Better", "Offer", "better_than"]

_HOLES = frozenset({"gridding", "subgrids"})


@dataclass(frozen=True, slots=True)
class Offer:
    """A schedule, and what it has that the stack has not."""

    what: str
    draft: Draft


@dataclass(frozen=True, slots=True)
class Better:
    """What was found, the nearest to the stack first, and how much was searched, in words."""

    offers: tuple[Offer, ...]
    said: str


def better_than(draft: Draft, report: Inspection | None = None) -> Better:
    """Schedules with at least the field of a stack, no holes, and no more MACs.

    Where the stack has holes or sub-grids: the one that changes the fewest rates, as `degrid` does.

    >>> found = better_than(Draft.of("k3d2 k3d2 k3d2", (1, 8, 64, 64)))
    >>> [(offer.draft.text, offer.what) for offer in found.offers]
    [('k3d2 k3d3 k3', '2 rates changed, no holes, no sub-grids')]
    """
    before = draft.report() if report is None else report
    if not _HOLES & {finding.code for finding in before.findings}:
        return Better((), "This stack has no holes and no sub-grids.")
    done = plan_degridding(draft.network())
    if isinstance(done, Refusal):
        return Better((), f"No rates close its holes: {done.reason}")
    assert done.found is not None
    made = _with_changes(draft, done.plan.changes)
    what = [f"{how_many(done.found.changes, 'rate')} changed", *_gains(before, made.report())]
    tried = f"{how_many(done.found.tried, 'set')} of rates tried"
    if not done.found.kept:
        return Better((), f"{tried}: none sees as far without holes; the nearest is {made.text}.")
    return Better((Offer(", ".join(what), made),), f"{tried}.")


def _with_changes(draft: Draft, changes: Sequence[OpChange]) -> Draft:
    """The stack with the rates, and where they are numbers the paddings, of changed layers."""
    made = list(draft.layers)
    for change in changes:
        place = next(i for i, layer in enumerate(made) if layer.name == change.node)
        assert isinstance(change.after, Conv)
        window = next(w for w in change.after.windows if w.kernel > 1)
        layer = replace(made[place], dilation=change.after.dilation)
        if len(set(layer.dilation)) == 1:
            layer = replace(layer, dilation=(window.dilation,))
        if isinstance(layer.padding, tuple):
            layer = replace(layer, padding=window.padding)
        made[place] = layer
    return draft.replaced(made)


def _gains(before: Inspection, after: Inspection) -> Iterator[str]:
    """What a schedule has that another has not."""
    old, new = before.outputs[0].field, after.outputs[0].field
    if any(axis.coverage < 1 for axis in old) and all(axis.coverage == 1 for axis in new):
        yield "no holes"
    codes = [{finding.code for finding in side.findings} for side in (before, after)]
    if "subgrids" in codes[0] - codes[1]:
        yield "no sub-grids"
    if new[0].size != old[0].size:
        yield f"sees {new[0].size:,} for {old[0].size:,}"
    if after.macs < before.macs:
        yield f"{1 - after.macs / before.macs:.0%} fewer MACs"
    if after.peak_memory_bytes < before.peak_memory_bytes:
        yield f"{1 - after.peak_memory_bytes / before.peak_memory_bytes:.0%} less memory"
