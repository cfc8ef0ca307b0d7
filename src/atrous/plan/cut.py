"""A network cut in two: a front that runs by tiles while maps are large, a back that runs whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from atrous.network import Network, Node, Tensor
from atrous.network.ops import Conv, ConvTranspose, Elementwise
from atrous.network.walk import pruned
from atrous.plan.maps import map_of
from atrous.plan.stages import in_stages
from atrous.plan.tiles import Map, Statistics, TilePlan
from atrous.plan.tiling import cut_into_tiles
from atrous.refusal import Refusal
from atrous.shown import ShownWhole

__all__ = ["CutPlan", "cut_within", "separators", "thrifty"]

_TRIED = 12
"""Places to cut at that are compared, from the first behind which memory suffices."""

_PARTS, _LEAST = 24, 1 << 16
"""Weights in one call: this part of the budget at most, but never fewer bytes than the second."""
_COMPARED = 4
"""Sizes of tiles that are compared, from the largest that fits."""


@dataclass(frozen=True, eq=False, repr=False)
class CutPlan(ShownWhole):
    """A network whose front runs by tiles up to `layer`, and whose back then runs whole.

    Nothing that is computed changes: the front's output is put together, and handed to the back.
    `peak_bytes` is what both hold at most beside parameters, the image included; batch norms and
    other elementwise ops behind a convolution are done in its own memory.
    """

    network: str
    layer: str
    tensor: str
    front: TilePlan
    front_macs: int
    macs: int
    image_bytes: int
    cut_bytes: int
    back_peak_bytes: int
    whole_peak_bytes: int
    most_weights: int
    """Bytes of weights that are handed to one call at most."""
    outputs: tuple[Map, ...] = ()
    """What the back makes; a dimension that is no axis of the image has none."""

    @property
    def peak_bytes(self) -> int:
        """Bytes held at most, while a tile runs or the back does."""
        front = self.image_bytes + self.cut_bytes + _held_by(self.front)
        return max(front, self.image_bytes + self.back_peak_bytes)

    @property
    def memory_bytes(self) -> int:
        """The same, under the name that plans of tiles have for it."""
        return self.peak_bytes

    @property
    def recomputed(self) -> float:
        """MACs that are done beyond the network's own, as a share of them."""
        return self.front.recomputed * self.front_macs / max(self.macs, 1)

    def __len__(self) -> int:
        return len(self.front)

    def to_dict(self) -> dict[str, object]:
        """Plain data."""
        return {
            "schema": "atrous.cut/1",
            "network": self.network,
            "layer": self.layer,
            "front": self.front.to_dict(),
            "front_macs": self.front_macs,
            "macs": self.macs,
            "cut_bytes": self.cut_bytes,
            "back_peak_bytes": self.back_peak_bytes,
            "peak_bytes": self.peak_bytes,
            "whole_peak_bytes": self.whole_peak_bytes,
            "recomputed": self.recomputed,
        }


def separators(network: Network) -> Iterator[str]:
    """The tensors through which everything passes on its way from the inputs to the outputs.

    >>> from atrous.network import Builder
    >>> b = Builder()
    >>> x = b.conv(b.input("x", (1, 1, 8, 8)), 1, 3, padding=1, name="first")
    >>> y = b.conv(x, 1, 3, padding=1, name="second")
    >>> net = b.build(b.join(x, y, name="sum"))
    >>> list(separators(net))
    ['first', 'sum']
    """
    uses = dict.fromkeys((t.name for t in network.inputs), 0)
    for node in network.nodes:
        uses.setdefault(node.output.name, 0)
        for name in node.inputs:
            uses[name] += 1
    for name in network.outputs:
        uses[name] += 1
    alive = {t.name for t in network.inputs if uses[t.name]}
    for node in network.nodes:
        for name in node.inputs:
            uses[name] -= 1
            if not uses[name]:
                alive.discard(name)
        if node.output.constant or not node.inputs:
            continue
        if uses[node.output.name]:
            alive.add(node.output.name)
        if alive == {node.output.name}:
            yield node.output.name


def thrifty(network: Network) -> Network:
    """The network with elementwise ops behind a convolution done in its memory.

    What makes a map anew and hands it to nobody else gives its memory to a batch norm or an
    activation behind it.
    """
    uses: dict[str, int] = dict.fromkeys(network.outputs, 1)
    for node in network.nodes:
        for name in node.inputs:
            uses[name] = uses.get(name, 0) + 1
    own: set[str] = set()
    nodes: list[Node] = []
    for node in network.nodes:
        made = isinstance(node.op, Conv | ConvTranspose)
        if isinstance(node.op, Elementwise) and node.inputs and node.inputs[0] in own:
            before, after = network.tensor(node.inputs[0]), node.output
            alike = (before.shape, before.itemsize) == (after.shape, after.itemsize)
            if uses[before.name] == 1 and alike:
                node = replace(node, op=replace(node.op, in_place=True), alias=True)
                made = True
        if made:
            own.add(node.output.name)
        nodes.append(node)
    return replace(network, nodes=tuple(nodes))


def cut_within(
    network: Network,
    budget: int,
    resized: Callable[[Network, tuple[tuple[int, ...], ...]], Network | None],
    peak: Callable[[Network, bool, int], int],
    whole_peak: int,
    *,
    statistics: Statistics | None = None,
    keep: bool = True,
) -> CutPlan | Refusal:
    """The cut and the tiles that stay within `budget` bytes for the least work done twice.

    `resized` gives a network at other input shapes, None where it cannot; `peak` the bytes that a
    run of one holds, its inputs kept or freed after their last use, where one call is handed so
    many bytes of weights at most. A refusal says how far memory falls, and what stands in the way.
    With `statistics` norms and means in the front are gathered in sweeps over its tiles, which go
    on with maps that others kept if they may `keep` any.
    """
    if len(network.inputs) > 1:
        given = f"it has {len(network.inputs)} inputs, and networks of one are cut alone."
        return Refusal("inputs", network.name, given)
    most = max(budget // _PARTS, _LEAST)
    image = sum(tensor.nbytes for tensor in network.inputs)
    best: CutPlan | None = None
    least = whole_peak
    reason: Refusal | None = None
    tried = 0
    for name in separators(network):
        if not network.tensor(name).grid or tried >= _TRIED:
            continue
        back = thrifty(_behind(network, name))
        held = peak(back, False, most)
        if image + held > budget:
            least = min(least, image + held)
            continue
        tried += 1
        front = pruned(network, [name])
        front = front if statistics else thrifty(front)
        room = budget - image - network.tensor(name).nbytes
        sweeps = _Sweeps(statistics, keep, lambda one: peak(one, False, most))
        found = _front_within(front, room, resized, lambda one: peak(one, True, most), sweeps)
        if isinstance(found, Refusal):
            reason = found if reason is None else reason
            continue
        maker = network.maker(name)
        made = CutPlan(
            network.name,
            maker.name if maker else name,
            name,
            found,
            front.macs,
            network.macs,
            image,
            network.tensor(name).nbytes,
            held,
            whole_peak,
            most,
            tuple(_output_of(network.tensor(one)) for one in network.outputs),
        )
        if best is None or made.recomputed < best.recomputed:
            best = made
    if best is not None:
        return best
    if reason is not None and least < whole_peak:
        before = f"what follows the cuts before it needs {least:,} bytes and more."
        return Refusal(reason.rule, reason.layer, f"{reason.reason.rstrip('.')}; {before}")
    if reason is not None:
        return reason
    return Refusal(
        "memory", network.name, f"what follows any cut needs {least:,} bytes; give at least that."
    )


def _output_of(tensor: Tensor) -> Map:
    made = map_of(tensor)
    if isinstance(made, Map):
        return made
    return Map(tensor.name, tensor.shape, (None,) * len(tensor.shape), tensor.itemsize)


def _behind(network: Network, name: str) -> Network:
    """The part of a network that reads the tensor `name`, which becomes its input."""
    reached = network.reached(name)
    nodes = tuple(
        node
        for node in network.nodes
        if node.output.name != name and (node.output.name in reached or not node.inputs)
    )
    used = {param for node in nodes for param in node.params}
    params = {key: param for key, param in network.params.items() if key in used}
    return replace(network, inputs=(network.tensor(name),), nodes=nodes, params=params, eager=None)


@dataclass(frozen=True, slots=True)
class _Sweeps:
    """How a front goes by sweeps: which statistics it has, whether they keep maps, their peak."""

    statistics: Statistics | None
    keep: bool
    peak: Callable[[Network], int]


def _front_within(
    front: Network,
    room: int,
    resized: Callable[[Network, tuple[tuple[int, ...], ...]], Network | None],
    peak: Callable[[Network], int],
    sweeps: _Sweeps,
) -> TilePlan | Refusal:
    """The largest tiles of the front whose activations fit into `room` bytes."""

    def reader(shapes: tuple[tuple[int, ...], ...]) -> Network:
        found = resized(front, shapes)
        if found is None:
            raise _UnsizedError
        # Sweeps make each call as it is written.
        return found if sweeps.statistics else thrifty(found)

    longest = max(front.inputs[0].grid.values())
    fitting: list[TilePlan] = []
    for parts in _counts(longest):
        steps = {axis: -(-length // parts) for axis, length in front.inputs[0].grid.items()}
        try:
            found = cut_into_tiles(front, steps, reader, peak, statistics=sweeps.statistics)
            if isinstance(found, TilePlan) and found.sweeps > 1 and sweeps.keep:
                found = in_stages(found, front, reader, sweeps.peak, room)
        except _UnsizedError:
            return Refusal("size", front.outputs[0], "the layers before it hold a size of a map.")
        if isinstance(found, Refusal):
            return found
        if len(found) > 1 and _held_by(found) <= room:
            fitting.append(found)
        # Tiles as large as may be lose most where the last one hardly has a part of its own.
        done = max(axis.step for axis in found.axes) <= max(axis.period for axis in found.axes)
        if done or len(fitting) == _COMPARED:
            break
    if not fitting:
        return Refusal(
            "memory", front.outputs[0], "no tile of what lies before it is small enough."
        )
    return min(fitting, key=lambda plan: plan.recomputed)


def _held_by(front: TilePlan) -> int:
    """What a front holds beside the image and the map at the cut."""
    return front.memory_bytes if front.gathered else front.tile_peak_bytes


class _UnsizedError(Exception):
    """A network cannot be had at another size."""


def _counts(longest: int) -> Iterator[int]:
    """How many parts an axis is cut into, in trials."""
    parts = 2
    while parts <= longest:
        yield parts
        parts += max(1, parts // 4)
