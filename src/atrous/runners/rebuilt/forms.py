"""Operators that lay numbers out anew: shapes, pieces, copies, joins."""

from __future__ import annotations

from math import prod

import torch

from atrous.errors import ReadError
from atrous.readers.onnx.values import checked
from atrous.runners.rebuilt.call import HeldNumbers, Made, RebuiltCall, rebuilds
from atrous.runners.rebuilt.fitted import end_at, shape_at, start_at

__all__: list[str] = []


def _is_held(call: RebuiltCall, index: int) -> bool:
    """Whether an input holds numbers that follow from no size."""
    found = call[index]
    return isinstance(found, HeldNumbers) and not found.sized


@rebuilds("Reshape")
def _reshaped(call: RebuiltCall) -> Made:
    x = call.tensor(0)
    wanted = call.whole_since("shape", 1, 5) or ()
    if not call.integer("allowzero"):
        if any(n == 0 and i >= x.dim() for i, n in enumerate(wanted)):
            raise ReadError(f"copies a dimension of {tuple(x.shape)} that is not there.")
        wanted = tuple(x.shape[i] if n == 0 else n for i, n in enumerate(wanted))
    checked([max(n, 0) for n in wanted], "its output")
    before = None if call.before is None else call.before[0]
    if -1 not in wanted and prod(wanted) != x.numel() and before is not None:
        fitting = shape_at(wanted, before, tuple(x.shape)) if _is_held(call, 1) else None
        if fitting is None:
            raise call.refusal(
                f"reshapes {tuple(x.shape)} to {tuple(wanted)}, which the file holds for one "
                "length; export it with a dynamic time length"
            )
        wanted = fitting
    return x.reshape(wanted)


@rebuilds("Flatten")
def _flattened(call: RebuiltCall) -> Made:
    x, axis = call.tensor(0), call.integer("axis", 1)
    axis = x.dim() if axis == x.dim() else call.axis(axis, x.dim())
    return x.reshape(prod(x.shape[:axis]), prod(x.shape[axis:]))


@rebuilds("Squeeze")
def _squeezed(call: RebuiltCall) -> Made:
    x, given = call.tensor(0), call.whole_since("axes", 1, 13)
    if given is None:
        dims = [d for d, n in enumerate(x.shape) if n == 1]
    else:
        dims = call.axes(given, x.dim())
    if any(x.shape[d] != 1 for d in dims):
        raise ReadError(f"squeezes a dimension of {tuple(x.shape)} that is not 1.")
    for d in reversed(dims):
        x = x.squeeze(d)
    return x


@rebuilds("Unsqueeze")
def _unsqueezed(call: RebuiltCall) -> Made:
    x, axes = call.tensor(0), call.whole_since("axes", 1, 13)
    if axes is None:
        raise ReadError("Unsqueeze needs axes.")
    for d in call.axes(axes, x.dim() + len(axes)):
        x = x.unsqueeze(d)
    return x


@rebuilds("Transpose")
def _transposed_dims(call: RebuiltCall) -> Made:
    x = call.tensor(0)
    order = call.integers("perm") or tuple(reversed(range(x.dim())))
    if sorted(order) != list(range(x.dim())):
        raise ReadError(f"{order[:8]} is no order of {x.dim()} dimensions.")
    return x.permute(order)


@rebuilds("Expand")
def _expanded(call: RebuiltCall) -> Made:
    x, wanted = call.tensor(0), call.whole(1, "shape") or ()
    before = None if call.before is None else call.before[0]
    if before is not None and _is_held(call, 1):
        # A size that the file holds goes along with the one that it was.
        front = len(wanted) - x.dim()
        wanted = tuple(
            x.shape[i - front] if i >= front and size == before[i - front] else size
            for i, size in enumerate(wanted)
        )
    shape = torch.broadcast_shapes(tuple(x.shape), checked(wanted, "its output"))
    return x if tuple(shape) == tuple(x.shape) else x.expand(shape)


@rebuilds("Tile")
def _tiled(call: RebuiltCall) -> Made:
    x, repeats = call.tensor(0), call.whole(1, "repeats") or ()
    if len(repeats) != x.dim() or min(repeats, default=1) < 0:
        raise ReadError(f"Tile needs one number of repeats for each of {x.dim()} dimensions.")
    checked([n * r for n, r in zip(x.shape, repeats, strict=True)], "its output")
    return x.repeat(repeats)


@rebuilds("Slice")
def _sliced(call: RebuiltCall) -> Made:
    x = call.tensor(0)
    if call.version < 10:
        starts, ends = call.integers("starts"), call.integers("ends")
        axes, steps = call.integers("axes"), None
    else:
        starts, ends = call.whole(1, "starts"), call.whole(2, "ends")
        axes, steps = call.whole(3, "axes"), call.whole(4, "steps")
    if starts is None or ends is None or len(starts) > x.dim():
        raise ReadError("Slice needs starts and ends, at most one for each dimension.")
    axes = tuple(range(len(starts))) if axes is None else axes
    steps = (1,) * len(starts) if steps is None else steps
    if not len(starts) == len(ends) == len(axes) == len(steps):
        raise ReadError("Slice has starts, ends, axes and steps of different lengths.")
    before = None if call.before is None else call.before[0]
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        d = call.axis(axis, x.dim())
        if step < 0:
            taken = range(x.shape[d])[start:end:step]
            low, high = (taken[-1], taken[0] + 1) if taken else (0, 0)
            x = x[(*(slice(None),) * d, slice(low, high, -step))].flip(d)
            continue
        if step == 0:
            raise ReadError("a slice's step is 0.")
        if before is not None and before[d] != x.shape[d] and _is_held(call, 2):
            start, end = start_at(start, before[d]), end_at(end, before[d], x.shape[d])
        whole = range(x.shape[d])[start:end:step] == range(x.shape[d])
        if not whole:
            x = x[(*(slice(None),) * d, slice(start, min(end, 1 << 62), step))]
    return x


@rebuilds("Split")
def _split_up(call: RebuiltCall) -> Made:
    x = call.tensor(0)
    d, count = call.axis(call.integer("axis"), x.dim()), len(call.node.output)
    sizes = call.whole_since("split", 1, 13)
    if sizes is None:
        piece = -(-x.shape[d] // max(count, 1))
        sizes = tuple(min(piece, x.shape[d] - piece * i) for i in range(count))
    if len(sizes) != count or sum(sizes) != x.shape[d] or min(sizes) < 0:
        raise ReadError(f"splits {x.shape[d]} into {sizes[:8]} for {count} outputs.")
    if len(set(sizes)) == 1:
        return list(x.split(sizes[0], d))
    return list(x.split(list(sizes), d))


@rebuilds("Concat")
def _joined(call: RebuiltCall) -> Made:
    parts = [call.tensor(i) for i in range(len(call.given))]
    return torch.cat(parts, call.axis(call.integer("axis"), parts[0].dim()))


@rebuilds("Gather")
def _gathered(call: RebuiltCall) -> Made:
    x, places = call.tensor(0), call.value(1)
    d = call.axis(call.integer("axis"), x.dim())
    if not isinstance(places, HeldNumbers):
        if d or x.dim() != 2:
            raise call.refusal("picks places that the input tells")
        return torch.nn.functional.embedding(places, x)
    wanted = [int(n) for n in places.array.reshape(-1)]
    if any(not -x.shape[d] <= n < x.shape[d] for n in wanted):
        raise ReadError(f"picks a place that is not among {x.shape[d]}.")
    if not places.array.ndim:
        return x.select(d, wanted[0])
    found = [n % x.shape[d] for n in wanted]
    if found == list(range(found[0], found[0] + len(found))) if found else False:
        y = x.narrow(d, found[0], len(found))
    else:
        y = x.index_select(d, torch.tensor(found, dtype=torch.int64))
    shape = (*x.shape[:d], *places.array.shape, *x.shape[d + 1 :])
    return y if places.array.ndim == 1 else y.reshape(shape)


@rebuilds("Trilu")
def _triangle(call: RebuiltCall) -> Made:
    x, k = call.tensor(0), call.whole(1, "diagonal")
    first = k[0] if k else 0
    return torch.triu(x, first) if call.integer("upper", 1) else torch.tril(x, first)


@rebuilds("GatherElements")
def _gathered_each(call: RebuiltCall) -> Made:
    x, places = call.tensor(0), call.tensor(1)
    return torch.gather(x, call.axis(call.integer("axis"), x.dim()), places)


@rebuilds("ConstantOfShape")
def _filled(call: RebuiltCall) -> Made:
    from onnx import numpy_helper

    shape = checked(call.whole(0, "shape") or (), "its output")
    held = [attribute.t for attribute in call.node.attribute if attribute.name == "value"]
    if not held:
        return torch.full(shape, 0.0)
    if prod(held[0].dims) != 1:
        raise ReadError("fills a shape with more than one number.")
    return torch.from_numpy(numpy_helper.to_array(held[0]).reshape(()).copy()).expand(shape)


@rebuilds("Range")
def _ranged(call: RebuiltCall) -> Made:
    found = [call.numbers(i, "ends") for i in range(3)]
    if any(one is None for one in found):
        raise ReadError("Range needs a start, an end and a step.")
    start, end, step = (one[0] for one in found if one is not None)
    made = torch.arange(start.item(), end.item(), step.item())
    return made.to(torch.from_numpy(start.reshape(1).copy()).dtype)
