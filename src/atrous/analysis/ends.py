"""The first and last input position that each output reads, every op's own borders included."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from atrous.analysis.causality import scans_back
from atrous.analysis.layer import Layer
from atrous.geometry import AxisMap, Everything, Local, Prefix, fold_back
from atrous.network import Network, Node
from atrous.shown import Plain

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["AtEnds", "Reach", "is_causal", "looks_at_ends", "reach"]

_NONE = 1 << 60
"""As a first position, and negative as a last one: nothing is read."""


@dataclass(frozen=True, slots=True)
class Reach:
    """For each output, the first and the last input position that it reads along one axis.

    Unlike a field, which ignores where maps end, what borders drop, repeat, reflect and wrap is
    followed. Where nothing is read, `first` is above `last`. `turned` names the ops that bring
    positions of elsewhere to an end.
    """

    first: NDArray[np.int64]
    last: NDArray[np.int64]
    turned: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AtEnds(Plain):
    """How far outputs look back and ahead of their own place at the most, and by which layers."""

    back: int
    ahead: int
    layers: tuple[str, ...]

    def __str__(self) -> str:
        return f"at the input's ends, by {', '.join(self.layers)}"


def reach(network: Network, source: str, tensor: str, axis: str) -> Reach | None:
    """What each position of `tensor` reads of the input `source` along `axis`; None if not known.

    Of sets with holes the first and last are kept, so a hole that a later window reads alone counts
    as read. Not known is what lies end to end as rows, or behind an opaque op.

    >>> import atrous
    >>> from atrous.network import Builder
    >>> from atrous.network.ops import Pad
    >>> b = Builder("reflected")
    >>> x = b.add(Pad(((2, 0),), "reflect"), b.input("x", (1, 1, 9)), name="pad")
    >>> network = b.build(b.conv(x, 1, 3, name="conv"))
    >>> found = reach(network, "x", network.outputs[0], "t")
    >>> found.first[:4].tolist(), found.last[:4].tolist(), found.turned
    ([0, 0, 0, 1], [2, 1, 2, 3], ('pad',))
    """
    import numpy as np

    leading = {tensor}
    for node in reversed(network.nodes):
        if node.output.name in leading:
            leading.update(node.inputs)
    length = network.tensor(source).grid[axis]
    known = {source: Reach(np.arange(length), np.arange(length))}
    turned: list[str] = []
    for node in network.nodes:
        sides = [i for i, name in enumerate(node.inputs) if name in known]
        if node.output.name not in leading or node.output.name in known or not sides:
            continue
        if node.opaque or any(node.seam(index) is not None for index in sides):
            return None
        found = _reach_behind(node, sides, known, axis)
        if found is not None:
            known[node.output.name] = found
            handed = any(_is_handed_to_all(network, node, index, axis) for index in sides)
            turns = any(_turns(node.moves[index].get(axis)) for index in sides)
            turned += [node.name] * (handed or turns)
    last = known.get(tensor)
    return None if last is None else Reach(last.first, last.last, tuple(turned))


def looks_at_ends(network: Network, source: str, layer: Layer, axis: str) -> AtEnds | None:
    """How far outputs of a layer look; None where ends change nothing of what its field says.

    Ends count where an op brings positions of elsewhere there: by reflecting, wrapping, or joining.
    """
    field = next((field for field in layer.field if field.axis == axis), None)
    mixed = layer.global_axes.get(axis, ())
    if field is None or layer.parts or layer.opaque:
        return None
    if mixed and not scans_back(network, mixed, axis):
        return None
    if not any(_may_turn(network, node, axis) for node in network.nodes):
        return None
    found = reach(network, source, layer.tensor, axis)
    if found is None or not found.turned:
        return None
    import numpy as np

    places = np.arange(len(found.first)) * field.stride.numerator // field.stride.denominator
    read = found.first <= found.last
    back = field.back if mixed else int(max((places - found.first)[read], default=0))
    ends = AtEnds(
        max(back, field.back),
        max(int(max((found.last - places)[read], default=0)), field.ahead),
        found.turned,
    )
    return None if (ends.back, ends.ahead) == (field.back, field.ahead) else ends


def is_causal(network: Network, layer: Layer, axis: str) -> bool | None:
    """Whether no position of `layer` reads one behind its own along `axis`; None if not known.

    The place of output `o` is input position `floor(o * stride)`; parts that lie end to end have
    no such place.

    >>> import atrous
    >>> report = atrous.inspect("stack:k3causal k3d2causal", (1, 1, 32))
    >>> is_causal(report.network, report.outputs[0], "t")
    True
    """
    if layer.opaque or layer.parts:
        return None
    mixed = layer.global_axes.get(axis, ())
    if mixed and not scans_back(network, mixed, axis):
        return False
    source = next((tensor.name for tensor in network.inputs if axis in tensor.grid), "")
    ends = looks_at_ends(network, source, layer, axis) if source else None
    if ends is not None:
        return ends.ahead <= 0
    return all(field.ahead <= 0 for field in layer.field if field.axis == axis)


def _is_handed_to_all(network: Network, node: Node, index: int, axis: str) -> bool:
    """Whether an operand without the axis meets every position of an output that has it."""
    within = axis in network.tensor(node.inputs[index]).grid
    return not within and node.output.grid.get(axis, 1) > 1


def _may_turn(network: Network, node: Node, axis: str) -> bool:
    turns = any(_turns(moves.get(axis)) for moves in node.moves)
    sides = range(len(node.inputs))
    return turns or any(_is_handed_to_all(network, node, index, axis) for index in sides)


def _reach_behind(node: Node, sides: list[int], known: dict[str, Reach], axis: str) -> Reach | None:
    """What a node's output reads, from what its operands read; None where that is not followed.

    What has no such axis, such as one position that was taken out, reads all that it is made of,
    and hands it to all positions of what it meets.
    """
    import numpy as np

    parts = []
    for index in sides:
        before, step = known[node.inputs[index]], node.moves[index].get(axis)
        if step is not None:
            before = _reach_through(step, before)
        size = node.output.grid.get(axis, 1)
        if len(before.first) == 1 < size:
            parts.append(Reach(before.first.repeat(size), before.last.repeat(size)))
        elif len(before.first) == size:
            parts.append(before)
        elif axis not in node.output.grid:
            first, last = before.first.min(initial=_NONE), before.last.max(initial=-_NONE)
            parts.append(Reach(np.array([first]), np.array([last])))
    if not parts:
        return None
    first, last = parts[0].first, parts[0].last
    for part in parts[1:]:
        first, last = np.minimum(first, part.first), np.maximum(last, part.last)
    return Reach(first, last)


def _reach_through(step: AxisMap, before: Reach) -> Reach:
    import numpy as np

    if isinstance(step, Everything):
        ones = np.ones(step.outputs, dtype=np.int64)
        first, last = before.first.min(initial=_NONE), before.last.max(initial=-_NONE)
        return Reach(ones * first, ones * last)
    if isinstance(step, Prefix):
        way = slice(None, None, -1 if step.reverse else 1)
        first = np.minimum.accumulate(before.first[way])[way]
        return Reach(first, np.maximum.accumulate(before.last[way])[way])
    first = np.full(step.outputs, _NONE, dtype=np.int64)
    last = -first
    if isinstance(step, Local):
        _gather_local(step, before, first, last)
        return Reach(first, last)
    for output, taps in enumerate(step.rows):
        places = np.array(list(taps), dtype=np.int64)
        first[output] = before.first[places].min(initial=_NONE)
        last[output] = before.last[places].max(initial=-_NONE)
    return Reach(first, last)


def _gather_local(step: Local, before: Reach, first: NDArray[Any], last: NDArray[Any]) -> None:
    """Takes in, for each phase and tap, what is read there by all outputs of that phase."""
    import numpy as np

    fold = fold_back(step.border, step.inputs, step.phases)
    for phase, taps in enumerate(step.reads.phases):
        turns = np.arange(len(range(phase, step.outputs, step.reads.period)))
        mine = slice(phase, None, step.reads.period)
        for tap in taps:
            places = turns * step.reads.shift + tap
            outside = np.flatnonzero((places < 0) | (places >= step.inputs))
            for at in outside.tolist():
                folded = fold(int(places[at]))
                places[at] = -1 if folded is None else folded
            read = places >= 0
            held = np.where(read, places, 0)
            if len(before.first):
                first[mine] = np.minimum(first[mine], np.where(read, before.first[held], _NONE))
                last[mine] = np.maximum(last[mine], np.where(read, before.last[held], -_NONE))


def _turns(step: AxisMap | None) -> bool:
    if isinstance(step, Local):
        return step.border in ("reflect", "wrap")
    if isinstance(step, Everything):
        # One position handed to all may be the last.
        return step.inputs == 1 < step.outputs
    return step is not None and not isinstance(step, Prefix)
