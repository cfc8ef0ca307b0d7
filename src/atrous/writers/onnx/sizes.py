"""Nodes of an ONNX file that hold sizes and places as numbers, with other numbers."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import TYPE_CHECKING

from atrous.network.ops import Pad, Slice
from atrous.shown import how_many
from atrous.writers.onnx.edit import Edit, Unwritable, set_ints, without
from atrous.writers.onnx.steps import Step, writes

if TYPE_CHECKING:
    import onnx

    from atrous.readers.onnx.values import Array

__all__ = ["follow"]

_TO_THE_END = (1 << 31) - 1
_OPEN = "and the file leaves that size open; give the file static shapes."


def _attribute(node: onnx.NodeProto, name: str) -> onnx.AttributeProto | None:
    return next((a for a in node.attribute if a.name == name), None)


def _input(node: onnx.NodeProto, index: int) -> str:
    name: str = node.input[index] if index < len(node.input) else ""
    return name


def _listed(edit: Edit, node: onnx.NodeProto, name: str, index: int) -> list[int] | None:
    """Whole numbers that are an attribute in old operator sets and an input in later ones."""
    attribute = _attribute(node, name)
    if attribute is not None:
        return list(attribute.ints)
    given = _input(node, index)
    if not given:
        return None
    return [int(x) for x in _known_array(edit, given, name).reshape(-1)]


def _known_array(edit: Edit, name: str, what: str) -> Array:
    array = edit.array(name)
    if array is None:
        raise Unwritable(f"its {what} are not known.")
    return array


def _renumber(
    edit: Edit, node: onnx.NodeProto, name: str, index: int, old: list[int], new: list[int]
) -> None:
    if _attribute(node, name) is not None:
        set_ints(node, name, new, 0)
    else:
        edit.renumbered(node, index, old, new)


@writes("Pad")
def _pad(edit: Edit, node: onnx.NodeProto, steps: Sequence[Step]) -> None:
    import numpy as np

    op = steps[0].after
    assert isinstance(op, Pad)
    rank = len(steps[0].x.shape)
    old = _listed(edit, node, "pads", 1)
    if old is None:
        raise Unwritable("its pads are not known.")
    chosen = _listed(edit, node, "axes", 3)
    dims = [d % rank for d in chosen] if chosen is not None else list(range(rank))
    first = rank - len(op.pads)
    phases = op.phases or (1,) * len(op.pads)
    table = {first + i: pair for i, pair in enumerate(op.pads)}
    x = node.input[0]
    for i, (turns, open_) in enumerate(zip(phases, steps[0].open, strict=True)):
        if turns == 1 or op.pads[i] == (0, 0):
            continue
        if open_:
            raise Unwritable(f"each of {turns} phases is padded by {op.mode} on its own, {_OPEN}")
        index = _padded_index(steps[0].x.shape[first + i], op.pads[i], turns, op.mode)
        name = edit.constant(np.asarray(index, np.int64), f"{node.output[0]}_index", node)
        x = edit.in_front(node, "Gather", [x, name], "padded", axis=first + i)
        table[first + i] = (0, 0)
        edit.rephrased.add(node.output[0])
    node.input[0] = x
    pairs = [table.get(d, (0, 0)) for d in dims]
    new = [lo for lo, _ in pairs] + [hi for _, hi in pairs]
    _renumber(edit, node, "pads", 1, old, new)


def _padded_index(length: int, pads: tuple[int, int], turns: int, mode: str) -> list[int]:
    """Which position each one of the padded map holds, where every phase is padded by itself."""
    found = []
    for place in range(-pads[0], length + pads[1]):
        phase, at = place % turns, place // turns
        own = -(-(length - phase) // turns)
        if mode == "replicate":
            at = min(max(at, 0), own - 1)
        elif mode == "circular":
            at %= own
        else:
            period = max(2 * (own - 1), 1)
            at = min(at % period, -at % period)
        found.append(turns * at + phase)
    return found


@writes("Slice")
def _slice(edit: Edit, node: onnx.NodeProto, steps: Sequence[Step]) -> None:
    starts, ends = _listed(edit, node, "starts", 1), _listed(edit, node, "ends", 2)
    if starts is None or ends is None:
        raise Unwritable("its starts and ends are not known.")
    x = node.input[0]
    shape, old_shape = edit.new_shape(x), edit.tensor(x).shape
    given = _listed(edit, node, "axes", 3)
    axes = [a % len(shape) for a in given] if given is not None else list(range(len(starts)))
    old_rates = _listed(edit, node, "steps", 4)
    rates = old_rates or [1] * len(starts)
    made: list[tuple[int, int, int]] = []
    for start, end, rate, dim in zip(starts, ends, rates, axes, strict=True):
        step = next((s for s in steps if _along(s, dim)), None)
        if step is not None:
            made.append(_places(edit, node, step, (start, end, rate), shape[dim]))
        elif shape[dim] != old_shape[dim] and rate > 0:
            made.append((max(start, 0), max(end, _TO_THE_END), rate))
        else:
            made.append((start, end, rate))
    new = [list(numbers) for numbers in zip(*made, strict=True)]
    _renumber(edit, node, "starts", 1, starts, new[0])
    _renumber(edit, node, "ends", 2, ends, new[1])
    if new[2] != rates:
        _set_steps(edit, node, axes, old_rates, new[2])


def _along(step: Step, dim: int) -> bool:
    return isinstance(step.after, Slice) and step.after.dim == dim


def _places(
    edit: Edit, node: onnx.NodeProto, step: Step, old: tuple[int, int, int], length: int
) -> tuple[int, int, int]:
    start, end, rate = old
    op = step.after
    assert isinstance(op, Slice)
    if step.open[0]:
        if start < 0 or end < 0 or rate < 0:
            raise Unwritable(f"it counts {start}:{end} from the end, {_OPEN}")
        factor = edit.factor(node.input[0], op.dim)
        return start * factor, end if end >= _TO_THE_END else end * factor, op.step
    wanted = range(op.start, op.start + (op.length - 1) * op.step + 1, op.step)
    if list(range(length)[start : end : op.step]) == list(wanted):
        return start, end, op.step
    if list(range(length)[op.start : end : op.step]) == list(wanted):
        return op.start, end, op.step
    return op.start, wanted[-1] + 1, op.step


def _set_steps(
    edit: Edit, node: onnx.NodeProto, axes: list[int], old: list[int] | None, new: list[int]
) -> None:
    import numpy as np

    if edit.opset < 10:
        raise Unwritable(
            f"operator set {edit.opset} has no Slice with steps; convert the file to operator set "
            "10 or later with onnx.version_converter.",
            10,
        )
    if old is not None:
        edit.renumbered(node, 4, old, new)
        return
    while len(node.input) < 3:
        node.input.append("")
    del node.input[3:]
    for numbers, word in ((axes, "axes"), (new, "steps")):
        node.input.append(
            edit.constant(np.asarray(numbers, np.int64), f"{node.output[0]}_{word}", node)
        )


@writes("Split")
def _split(edit: Edit, node: onnx.NodeProto, steps: Sequence[Step]) -> None:
    import numpy as np

    x = node.input[0]
    op = steps[0].after
    assert isinstance(op, Slice)
    if any(step.open[0] for step in steps):
        raise Unwritable(f"it splits an axis whose stride is removed, {_OPEN}")
    if any(name not in edit.values for name in node.output):
        raise Unwritable("it splits an axis whose stride is removed, and some parts are not used.")
    dim = op.dim
    new = [edit.new_shape(name)[dim] for name in node.output]
    if sum(new) != edit.new_shape(x)[dim]:
        raise Unwritable("its parts overlap or leave something out after the conversion.")
    old = _listed(edit, node, "split", 1)
    if old is not None:
        _renumber(edit, node, "split", 1, old, new)
    elif len(set(new[:-1])) > 1 or new[-1] > new[0]:
        without(node, "num_outputs")
        if edit.opset < 13:
            set_ints(node, "split", new, 0)
        else:
            sizes = edit.constant(np.asarray(new, np.int64), f"{node.output[0]}_split", node)
            node.input.append(sizes)


@writes("Gather")
def _gather(edit: Edit, node: onnx.NodeProto, steps: Sequence[Step]) -> None:
    import numpy as np

    op = steps[0].after
    if not isinstance(op, Slice):
        return
    old = [int(i) for i in _known_array(edit, node.input[1], "indices").reshape(-1)]
    if steps[0].open[0] and min(old) < 0:
        raise Unwritable(f"it counts index {min(old)} from the end, {_OPEN}")
    if not edit.is_fixed(node.input[1]):
        raise Unwritable("its indices are computed from sizes; write them out.")
    new = [op.start + i * op.step for i in range(op.length)]
    array = np.asarray(new[0] if op.drop else new, np.int64)
    edit.replaced(node, 1, edit.constant(array, f"{node.input[1]}_dense", node))


@writes("Reshape")
def _reshape(edit: Edit, node: onnx.NodeProto, steps: Sequence[Step]) -> None:  # noqa: ARG001
    old = _listed(edit, node, "shape", 1)
    if old is None:
        raise Unwritable("its shape is not known.")
    zero = _attribute(node, "allowzero")
    x, y = node.input[0], node.output[0]
    have, before, after = edit.new_shape(x), edit.tensor(y).shape, edit.new_shape(y)
    new = list(old)
    for i, size in enumerate(old):
        copied = size == 0 and not (zero is not None and zero.i)
        if size != -1 and before[i] != after[i] and not (copied and have[i] == after[i]):
            new[i] = after[i]
    edit.renumbered(node, 1, old, new)


@writes("Expand")
def _expand(edit: Edit, node: onnx.NodeProto, steps: Sequence[Step]) -> None:  # noqa: ARG001
    old = _listed(edit, node, "shape", 1)
    if old is None:
        raise Unwritable("its shape is not known.")
    y = node.output[0]
    before, after = edit.tensor(y).shape, edit.new_shape(y)
    shift = len(after) - len(old)
    new = [
        after[i + shift] if size == before[i + shift] != after[i + shift] else size
        for i, size in enumerate(old)
    ]
    edit.renumbered(node, 1, old, new)


@writes("Resize", "Upsample")
def _resize(edit: Edit, node: onnx.NodeProto, steps: Sequence[Step]) -> None:  # noqa: ARG001
    x, y = node.input[0], node.output[0]
    rank = len(edit.new_shape(x))
    chosen = _attribute(node, "axes")
    dims = [d % rank for d in chosen.ints] if chosen is not None else list(range(rank))
    sizes = _input(node, 3) if edit.opset >= 11 and node.op_type == "Resize" else ""
    if sizes:
        policy = _attribute(node, "keep_aspect_ratio_policy")
        if policy is not None and policy.s not in (b"", b"stretch"):
            raise Unwritable(
                f"it resizes by the policy {policy.s.decode()!r}; write its sizes out."
            )
        old = [int(n) for n in _known_array(edit, sizes, "sizes").reshape(-1)]
        edit.renumbered(node, 3, old, [edit.new_shape(y)[d] for d in dims])
        return
    _rescale(edit, node, dims)


def _rescale(edit: Edit, node: onnx.NodeProto, dims: list[int]) -> None:
    import numpy as np
    from onnx import helper

    x, y = node.input[0], node.output[0]
    attribute = _attribute(node, "scales")
    index = 2 if edit.opset >= 11 and node.op_type == "Resize" else 1
    if attribute is None and not edit.is_fixed(_input(node, index)):
        return
    array = None if attribute is not None else _known_array(edit, node.input[index], "scales")
    old = [float(s) for s in (attribute.floats if attribute is not None else array.reshape(-1))]  # type: ignore[union-attr]
    new = []
    for scale, dim in zip(old, dims, strict=True):
        length, size = edit.new_shape(x)[dim], edit.new_shape(y)[dim]
        ratio = Fraction(edit.factor(y, dim), edit.factor(x, dim))
        tried = (
            [scale * float(ratio), scale]
            if edit.open
            else [scale, scale * float(ratio), size / length]
        )
        fitting = [s for s in tried if int(np.float32(s) * np.float32(length)) == size]
        if not fitting:
            raise Unwritable(
                f"no scale makes {how_many(size, 'position')} of {length} at every size."
            )
        new.append(fitting[0])
    if new == old:
        return
    if attribute is not None:
        attribute.CopyFrom(helper.make_attribute("scales", new))
    else:
        name = edit.constant(np.asarray(new, np.float32), f"{node.input[index]}_dense", node)
        edit.replaced(node, index, name)


def follow(edit: Edit, node: onnx.NodeProto) -> None:
    """What a plan does not mention and a file says by numbers all the same.

    A Slice that took all positions of a map takes all of the denser one; a Resize by scales that
    makes the same size of another one has other scales.
    """
    if node.op_type not in ("Slice", "Resize", "Upsample"):
        return
    if node.input[0] in edit.values and edit.resized(node.input[0]):
        (_slice if node.op_type == "Slice" else _resize)(edit, node, ())
