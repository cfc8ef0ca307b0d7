"""How an image is cut into tiles: their size and halo, what that costs, what it needs."""

from __future__ import annotations

from dataclasses import dataclass

from atrous.draw.units import bytes_text, per_axis, shape_text, share_text
from atrous.plan.cut import CutPlan
from atrous.plan.tiles import TilePlan
from atrous.report.lines import Line, Look, Span, line, wrapped
from atrous.report.view import LinesView
from atrous.shown import how_many, some, view

__all__ = ["CutPlanView", "TilePlanView"]

_INDENT = 12


@view.register(TilePlan)
@dataclass(frozen=True, slots=True)
class TilePlanView(LinesView):
    """The grid, the halo, the work that is done twice, and the memory of one tile."""

    record: TilePlan

    def lines(self, look: Look) -> list[Line]:
        plan = self.record
        shape = " and ".join(shape_text(one.shape) for one in plan.inputs)
        head = f": {shape} in {how_many(len(plan), 'tile')}"
        if len(plan) == 1:
            rows = [("memory", f"{bytes_text(plan.memory_bytes)} at its peak, as a whole")]
            return _laid(plan.network, f"{head}, not cut", rows, look)
        cut = [axis for axis in plan.axes if axis.count > 1]
        size = per_axis([str(axis.step) for axis in plan.axes])
        grid = "x".join(map(str, plan.grid))
        again = "what lies in halos is computed again"
        if plan.sweeps > 1 and not plan.stages:
            again += ", and each sweep begins with the image"
        whole = bytes_text(plan.whole_peak_bytes)
        on = " and ".join(shape_text(s) for s in plan.input_shapes) + ", all alike"
        halo = _halo(plan)
        if plan.stages:
            largest = max(plan.stages, key=lambda stage: stage.tiles.tile_peak_bytes)
            on = " and ".join(shape_text(s) for s in largest.shapes) + " or less, in sweeps"
            halo = f"{_halo(largest.tiles)} at most in a sweep"
        rows = [
            ("tiles", f"{size} px each, {grid} of them"),
            ("halo", f"{halo}; origins multiples of {_origins(plan)}"),
            ("runs on", on),
            ("more work", f"{share_text(plan.recomputed)}, since {again}"),
            ("memory", f"{bytes_text(plan.memory_bytes)} a tile, {whole} for the whole at once"),
        ]
        named = some(list(plan.statistics))
        if plan.sweeps > 1:
            rows.append(("sweeps", f"{plan.sweeps}, to gather the statistics of {named}"))
            if plan.stages:
                where = "in memory" if plan.in_memory else "on disk"
                kept = f"{bytes_text(plan.scratch_bytes)} of maps at most, {where}"
                rows.append(("kept", f"{kept}, with which each sweep goes on"))
        elif plan.statistics:
            rows.append(("not exact", f"{named} by each tile's own statistics"))
        if plan.resizes:
            named = some([one.layer for one in plan.resizes])
            rows.append(("resizes", f"{named} at the places of the whole map"))
        left = [axis.axis for axis in plan.axes if axis not in cut]
        if left:
            rows.append(("not cut", ", ".join(left)))
        return _laid(plan.network, head, rows, look)


def _laid(name: str, head: str, rows: list[tuple[str, str]], look: Look) -> list[Line]:
    out = [line(Span(name or "network", "bold"), head)]
    for label, text in rows:
        out += wrapped(Span(label, "bold"), text, _INDENT, look)
    return out


def _halo(plan: TilePlan) -> str:
    sides = [f"{before} px before, {behind} behind" for before, behind in plan.halo]
    return sides[0] if len(set(sides)) == 1 else per_axis(sides)


def _origins(plan: TilePlan) -> str:
    return per_axis([str(axis.period) for axis in plan.axes])


@view.register(CutPlan)
@dataclass(frozen=True, slots=True)
class CutPlanView(LinesView):
    """Where the network is cut, the tiles of its front, and what both halves hold."""

    record: CutPlan

    def lines(self, look: Look) -> list[Line]:
        plan = self.record
        front = plan.front
        shape = shape_text(front.inputs[0].shape)
        size = per_axis([str(axis.size) for axis in front.axes])
        grid = "x".join(map(str, front.grid))
        head = f": {shape}, cut behind {plan.layer}"
        rows = [
            ("front", f"{how_many(len(front), 'tile')} ({grid}) of {size} px, halo {_halo(front)}"),
            ("back", f"once, on {shape_text(front.outputs[0].shape)}"),
            ("more work", f"{share_text(plan.recomputed)} of the network's MACs, in halos"),
            (
                "memory",
                f"{bytes_text(plan.peak_bytes)}, {bytes_text(plan.whole_peak_bytes)} uncut",
            ),
        ]
        if front.sweeps > 1:
            named = some(list(front.statistics))
            rows.insert(1, ("sweeps", f"{front.sweeps}, to gather the statistics of {named}"))
        return _laid(plan.network, head, rows, look)
