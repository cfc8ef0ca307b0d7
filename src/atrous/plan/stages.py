"""Sweeps that go on with maps that earlier ones kept: the tiles of each, and what they keep."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction

from atrous.errors import AtrousError
from atrous.network import Network
from atrous.network.shapes import Shape
from atrous.plan.along import AxisTiles, narrowed, placed
from atrous.plan.keeping import Leg, legs_of
from atrous.plan.maps import map_of, placed_resize, shape_of_tile
from atrous.plan.sweeps import gathered_of
from atrous.plan.tiles import Map, Stage, TilePlan
from atrous.refusal import Refusal

__all__ = ["in_stages"]

Reader = Callable[[tuple[Shape, ...]], Network]


def in_stages(
    plan: TilePlan, network: Network, reader: Reader, peak: Callable[[Network], int], budget: int
) -> TilePlan:
    """The plan whose sweeps go on with what earlier ones kept; as it was where that does not go.

    Each sweep then computes what lies between two reductions, in tiles whose halo is that of these
    layers alone, so that all sweeps together cost about what one run does. What they keep is kept
    in memory where maps take at most half of `budget` bytes. `reader` gives the network at other
    input shapes, `peak` the bytes that a part of a network holds.
    """
    if plan.sweeps < 2:
        return plan
    cut = {axis.axis: axis for axis in plan.axes if axis.count > 1}
    calls = Counter(node.origin for node in network.nodes)

    def storable(name: str) -> bool:
        tensor, node = network.tensor(name), network.maker(name)
        alone = node is None or not node.origin or calls[node.origin] == 1
        along_all = all(
            tensor.grid.get(axis, 1) > 1 and axes.strides.get(name, axes.length) < axes.length
            for axis, axes in cut.items()
        )
        return alone and along_all and not isinstance(map_of(tensor), Refusal)

    sweeps = {one.layer: one.sweep for one in plan.gathered}
    legs = legs_of(network, sweeps, storable)
    if legs is None:
        return plan
    stages: list[Stage] = []
    for leg in legs:
        stage = _narrowest(plan, network, leg, reader, peak)
        if stage is None:
            return plan
        stages.append(stage)
    found = replace(plan, stages=tuple(stages))
    return replace(found, in_memory=found.scratch_bytes <= budget // 2)


def _narrowest(
    plan: TilePlan, network: Network, leg: Leg, reader: Reader, peak: Callable[[Network], int]
) -> Stage | None:
    """One sweep, in tiles as small as its layers allow; None where these do not line up."""
    wanted = (*(leg.kept or _outputs_of(plan, leg)), *_operands_of(network, leg.counted))
    part = _part_of(network, leg, wanted)
    known = {*leg.known, *leg.counted}
    narrow: list[AxisTiles] = []
    for cut in plan.axes:
        held = {name: part.tensor(name).grid.get(cut.axis, 1) for name in wanted}
        spread = {
            name: Fraction(cut.length, max(network.tensor(name).grid.get(cut.axis, 1), 1))
            for name in (*wanted, *_operands_of(network, leg.known))
        }
        cut = replace(cut, outputs=held, strides={**spread, **cut.strides})
        found = narrowed(part, cut, held, known) if cut.count > 1 else cut
        if isinstance(found, Refusal):
            return None
        narrow.append(found)
    as_planned = [
        replace(few, size=cut.size, halo=cut.halo, period=cut.period)
        for few, cut in zip(narrow, plan.axes, strict=True)
    ]
    return next(
        filter(
            None,
            (
                _stage_of(plan, network, leg, part, cuts, reader, peak)
                for cuts in (narrow, as_planned)
            ),
        ),
        None,
    )


def _outputs_of(plan: TilePlan, leg: Leg) -> tuple[str, ...]:
    return tuple(one.name for one in plan.outputs) if leg.sweep == plan.sweeps else ()


def _operands_of(network: Network, layers: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(network.node(name).inputs[0] for name in layers))


def _part_of(network: Network, leg: Leg, wanted: tuple[str, ...]) -> Network:
    """The nodes of a sweep, which is given the tensors that it begins with.

    Of a mean that is known the operand is not there: it stands among the inputs without bytes.
    """
    made = set(leg.made)
    nodes = tuple(node for node in network.nodes if node.output.name in made)
    there = [network.tensor(name) for name in leg.given]
    missing = {name for node in nodes for name in node.inputs} - made - set(leg.given)
    beside = [replace(network.tensor(name), sized=False) for name in sorted(missing)]
    outputs = tuple(dict.fromkeys(wanted))
    return replace(network, inputs=(*there, *beside), nodes=nodes, outputs=outputs, eager=None)


def _stage_of(
    plan: TilePlan,
    network: Network,
    leg: Leg,
    part: Network,
    cuts: Sequence[AxisTiles],
    reader: Reader,
    peak: Callable[[Network], int],
) -> Stage | None:
    lengths = {cut.axis: cut.length for cut in cuts}
    shapes = tuple(shape_of_tile(one, cuts, lengths) for one in plan.inputs)
    try:
        tile = reader(shapes)
        beside = _part_of(tile, leg, part.outputs)
    except AtrousError:
        return None
    known = {*leg.known, *leg.counted}
    resizes: dict[str, None] = {}
    for cut in cuts:
        found = placed(part, beside, cut, known)
        if isinstance(found, Refusal):
            return None
        resizes.update(dict.fromkeys(found))
    sweeps = {one.layer: one.sweep for one in plan.gathered if one.layer in known}
    gathered = gathered_of(network, tile, sweeps)
    given, kept = _maps_of(network, leg.given), _maps_of(network, leg.kept)
    if isinstance(gathered, Refusal) or given is None or kept is None:
        return None
    last = leg.sweep == plan.sweeps
    tiles = TilePlan(
        network.name,
        given,
        plan.outputs if last else kept,
        tuple(cuts),
        tuple(tile.tensor(name).shape for name in leg.given),
        peak(beside),
        peak(part),
        tuple(placed_resize(network, tile, name, cuts) for name in resizes),
        tuple(one.layer for one in gathered),
        gathered,
        _share_of_work(part, network),
    )
    makers = (network.maker(name) for name in (*leg.given, *leg.kept, *part.outputs))
    origins = {node.output.name: node.origin for node in makers if node is not None}
    return Stage(leg.sweep, shapes, tiles, origins)


def _maps_of(network: Network, names: Sequence[str]) -> tuple[Map, ...] | None:
    found = [map_of(network.tensor(name)) for name in names]
    made = tuple(one for one in found if isinstance(one, Map))
    return made if len(made) == len(found) else None


def _share_of_work(part: Network, network: Network) -> float:
    """The multiply-accumulates of a part beside the whole's; its nodes, if there are none."""
    if network.macs:
        return part.macs / network.macs
    return len(part.nodes) / max(len(network.nodes), 1)
