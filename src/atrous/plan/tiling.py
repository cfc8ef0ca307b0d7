"""`cut_into_tiles`: the plan of an image in tiles, or which layer does not run by them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from atrous.network import Network
from atrous.network.shapes import Shape
from atrous.plan.along import AxisTiles, along, placed
from atrous.plan.maps import map_of, placed_resize, shape_of_tile, uncut
from atrous.plan.sweeps import gathered_of, sweeps_of, work_of
from atrous.plan.tiles import Map, Statistics, TilePlan
from atrous.refusal import Refusal

__all__ = ["cut_into_tiles"]


def cut_into_tiles(
    network: Network,
    steps: Mapping[str, int],
    reader: Callable[[tuple[Shape, ...]], Network],
    peak: Callable[[Network], int],
    *,
    statistics: Statistics | None = None,
    anyhow: bool = False,
) -> TilePlan | Refusal:
    """The plan that cuts the image of `network` into tiles of about `steps` along each axis.

    `reader` gives the network at other input shapes, `peak` the bytes that a run of one needs. An
    axis that `steps` leaves out is not cut. A refusal names the layer that does not run by tiles.
    With `statistics`, norms, means and the like over cut axes are gathered, or are a tile's own.
    An axis whose halo leaves nothing to cut is not cut either, or, `anyhow`, each tile reads all of
    it: sweeps that go on with maps that were kept have less of a halo.
    """
    maps = [map_of(network.tensor(name)) for name in network.outputs]
    refused = next((one for one in maps if isinstance(one, Refusal)), None)
    if refused is not None:
        return refused
    outputs = tuple(one for one in maps if isinstance(one, Map))
    inputs = [map_of(tensor) for tensor in network.inputs]
    lengths: dict[str, int] = {}
    for tensor in network.inputs:
        for axis, n in tensor.grid.items():
            if lengths.get(axis, 1) == 1:
                lengths[axis] = n
    for tensor in network.inputs:
        for axis, n in tensor.grid.items():
            if axis in steps and n not in (1, lengths[axis]):
                reason = f"has {n} positions along {axis} where another input has {lengths[axis]}."
                return Refusal("inputs", tensor.name, reason)
    steps = {axis: step for axis, step in steps.items() if step < lengths.get(axis, 0)}
    sweeps = sweeps_of(network, steps.keys())
    if statistics is None:
        made = _axes_in_tiles(network, lengths, outputs, steps, {})
        if isinstance(made, Refusal) and made.layer in sweeps:
            return _with_fix(made)
    else:
        made = _axes_in_tiles(network, lengths, outputs, steps, sweeps, anyhow)
    cuts = made
    if isinstance(cuts, Refusal):
        return cuts
    # Along an axis that no tile fits, a reduction is local: cut by the others alone.
    steps = {cut.axis: steps[cut.axis] for cut in cuts if cut.count > 1}
    fewer = sweeps_of(network, steps.keys()) if statistics is not None else {}
    if statistics is not None and fewer != sweeps:
        cuts = _axes_in_tiles(network, lengths, outputs, steps, fewer, anyhow)
        if isinstance(cuts, Refusal):
            return cuts
    sweeps = fewer
    shapes = tuple(shape_of_tile(one, cuts, lengths) for one in inputs if isinstance(one, Map))
    if len(shapes) < len(network.inputs):
        return Refusal("local", network.inputs[0].name, "its positions lie in no dimension alone.")
    whole = tuple(tensor.shape for tensor in network.inputs)
    tile = network if shapes == whole else reader(shapes)
    resizes: dict[str, None] = {}
    for cut in cuts:
        found = placed(network, tile, cut, sweeps.keys())
        if isinstance(found, Refusal):
            return found
        resizes.update(dict.fromkeys(found))
    for one in outputs:
        beside = zip(one.axes, one.shape, tile.tensor(one.name).shape, strict=True)
        if any(axis is None and size != here for axis, size, here in beside):
            return Refusal(
                "aligned", one.name, "is as large as the image, with no positions of it."
            )
    gathered = gathered_of(network, tile, sweeps) if statistics == "exact" else ()
    if isinstance(gathered, Refusal):
        return gathered
    return TilePlan(
        network.name,
        tuple(one for one in inputs if isinstance(one, Map)),
        outputs,
        tuple(cuts),
        shapes,
        peak(tile),
        peak(network),
        tuple(placed_resize(network, tile, name, cuts) for name in resizes),
        tuple(sweeps),
        gathered,
        work_of(network, sweeps) if gathered else 1.0,
    )


def _axes_in_tiles(
    network: Network,
    lengths: Mapping[str, int],
    outputs: Sequence[Map],
    steps: Mapping[str, int],
    sweeps: Mapping[str, int],
    anyhow: bool = False,
) -> list[AxisTiles] | Refusal:
    """Each axis in tiles, or whole where `steps` has none; operands of `sweeps` are cut as well."""
    names = [one.name for one in outputs] + [network.node(name).inputs[0] for name in sweeps]
    found: list[AxisTiles] = []
    for axis, length in lengths.items():
        held = {name: network.tensor(name).grid.get(axis, 1) for name in names}
        cut = along(network, axis, held, steps.get(axis, length), sweeps.keys(), anyhow=anyhow)
        if isinstance(cut, Refusal):
            if axis in steps:
                return cut
            cut = uncut(axis, length, held)
        found.append(cut)
    return found


def _with_fix(refused: Refusal) -> Refusal:
    reason = f"{refused.reason.rstrip('.')}; or give statistics='exact', "
    return Refusal(refused.rule, refused.layer, f"{reason}which gathers what it needs in a sweep.")
