"""What the commonest calls make of tensors without numbers, by their shapes alone.

A mode of PyTorch takes milliseconds to say of a convolution what its sizes say. Said here is only
what PyTorch would say too, of tensors that lie in order; everything else it shall say, or refuse.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensor, unset_fake_temporarily

__all__ = ["foretold"]

_ATEN = torch.ops.aten
_CONVOLUTIONS = {
    op: rank
    for rank, op in enumerate((_ATEN.conv1d.default, _ATEN.conv2d.default, _ATEN.conv3d.default), 1)
}
_ONE_BY_ONE = ("relu", "sigmoid", "tanh", "silu", "hardswish", "hardsigmoid", "hardtanh", "relu6")
_UNARY = {getattr(_ATEN, name).default for name in (*_ONE_BY_ONE, "gelu", "leaky_relu")}
_UNARY_IN_PLACE = {getattr(_ATEN, f"{name}_").default for name in (*_ONE_BY_ONE, "leaky_relu")}
_RECURRENT = {
    _ATEN.gru.input: 3,
    _ATEN.lstm.input: 4,
    _ATEN.rnn_tanh.input: 1,
    _ATEN.rnn_relu.input: 1,
}
"""The gates that each has."""
_BINARY = {_ATEN.add.Tensor, _ATEN.mul.Tensor}
_BINARY_IN_PLACE = {_ATEN.add_.Tensor, _ATEN.mul_.Tensor}


def foretold(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """The result of a call on fake tensors of the CPU; None where it is not known here.

    >>> from torch._subclasses.fake_tensor import FakeTensorMode
    >>> with FakeTensorMode():
    ...     x, weight = torch.empty(1, 3, 9, 9), torch.empty(4, 3, 3, 3)
    >>> foretold(torch.ops.aten.conv2d.default, (x, weight, None, [2, 2], [1, 1]), {}).shape
    torch.Size([1, 4, 5, 5])
    >>> foretold(torch.ops.aten.conv2d.default, (x, weight, None, [2, 2], [1, 1], [9, 9]), {})
    """
    rank = _CONVOLUTIONS.get(func)
    if rank is not None:
        return None if kwargs else _convolved(rank, *args)
    gates = _RECURRENT.get(func)
    if gates is not None:
        return None if kwargs or len(args) != 9 else _recurred(gates, *args)
    if func in _UNARY or func in _UNARY_IN_PLACE:
        x = args[0]
        if not _is_plain(x) or any(isinstance(more, torch.Tensor) for more in args[1:]):
            return None
        return x if func in _UNARY_IN_PLACE else _like(x)
    if func in _BINARY or func in _BINARY_IN_PLACE:
        one, other = args[:2]
        if not (_is_plain(one) and _is_plain(other)) or one.shape != other.shape:
            return None
        if one.dtype != other.dtype:
            return None
        return one if func in _BINARY_IN_PLACE else _like(one)
    if func is _ATEN.batch_norm.default and _is_norm_at_rest(*args, **kwargs):
        return _like(args[0]) if _is_plain(args[0]) else torch.empty_like(args[0])
    rule = _OTHERS.get(func)
    return None if rule is None or kwargs else rule(*args)


def _is_plain(x: Any) -> bool:
    """Whether it is a fake tensor of real numbers on the CPU that lies in order."""
    return (
        type(x) is FakeTensor
        and x.is_floating_point()
        and x.fake_device.type == "cpu"
        and x.is_contiguous()
    )


def _like(x: Any, shape: Sequence[int] | None = None) -> torch.Tensor:
    """A new tensor without numbers, of another shape where one is given, that lies in order."""
    shape = x.shape if shape is None else shape
    with unset_fake_temporarily():
        made = torch.empty(tuple(shape), dtype=x.dtype, device="meta")
        return FakeTensor(x.fake_mode, made, x.fake_device)


def _convolved(
    rank: int,
    x: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = (1,),
    padding: Any = (0,),
    dilation: Any = (1,),
    groups: Any = 1,
) -> torch.Tensor | None:
    held = [x, weight] if bias is None else [x, weight, bias]
    if not all(map(_is_plain, held)) or len({one.dtype for one in held}) > 1:
        return None
    if x.dim() != rank + 2 or weight.dim() != rank + 2 or type(groups) is not int or groups < 1:
        return None
    found = [_of_axes(rank, given) for given in (stride, padding, dilation)]
    sizes = [each for each in found if each is not None]
    taken, made = x.shape[1], weight.shape[0]
    if len(sizes) < 3 or taken != weight.shape[1] * groups or made % groups or 0 in x.shape:
        return None
    if bias is not None and bias.shape != (made,):
        return None
    out = [x.shape[0], made]
    for axis, (step, pad, rate) in enumerate(zip(*sizes, strict=True), 2):
        length, kernel = x.shape[axis], weight.shape[axis]
        room = length + 2 * pad - rate * (kernel - 1) - 1
        if min(room, pad) < 0 or min(step, rate, kernel) < 1:
            return None
        out.append(room // step + 1)
    return _like(x, out)


def _joined(parts: Any, axis: Any = 0) -> torch.Tensor | None:
    if not parts or not all(map(_is_plain, parts)) or len({one.dtype for one in parts}) > 1:
        return None
    rank = parts[0].dim()
    if type(axis) is not int or not -rank <= axis < rank or any(0 in one.shape for one in parts):
        return None
    axis %= rank
    if len({(*one.shape[:axis], -1, *one.shape[axis + 1 :]) for one in parts}) > 1:
        return None
    shape = list(parts[0].shape)
    shape[axis] = sum(one.shape[axis] for one in parts)
    return _like(parts[0], shape)


def _mixed(x: Any, weight: Any, bias: Any = None) -> torch.Tensor | None:
    held = [x, weight] if bias is None else [x, weight, bias]
    if not all(map(_is_plain, held)) or len({one.dtype for one in held}) > 1:
        return None
    if x.dim() < 2 or weight.dim() != 2 or x.shape[-1] != weight.shape[1] or 0 in x.shape:
        return None
    if bias is not None and bias.shape != weight.shape[:1]:
        return None
    return _like(x, (*x.shape[:-1], weight.shape[0]))


def _normed(
    x: Any, shape: Any, weight: Any = None, bias: Any = None, *_: Any
) -> torch.Tensor | None:
    held = [one for one in (weight, bias) if one is not None]
    if not all(map(_is_plain, (x, *held))) or len({one.dtype for one in (x, *held)}) > 1:
        return None
    shape = tuple(shape)
    if not shape or x.shape[-len(shape) :] != shape or any(one.shape != shape for one in held):
        return None
    return None if 0 in x.shape else _like(x)


_OTHERS: Mapping[Any, Callable[..., torch.Tensor | None]] = {
    _ATEN.cat.default: _joined,
    _ATEN.linear.default: _mixed,
    _ATEN.layer_norm.default: _normed,
}


def _recurred(
    gates: int,
    x: Any,
    start: Any,
    weights: Any,
    biases: Any,
    layers: Any,
    _: Any,
    train: Any,
    both_ways: Any,
    batch_first: Any,
) -> tuple[torch.Tensor, ...] | None:
    states = list(start) if gates == 4 else [start]
    if train or not all(map(_is_plain, (x, *states, *weights))) or x.dim() != 3 or 0 in x.shape:
        return None
    ways = 2 if both_ways else 1
    held = states[0].shape[-1]
    inner = states[-1].shape[-1]
    per_way = (4 if biases else 2) + (held != inner)
    batch, steps = x.shape[:2] if batch_first else (x.shape[1], x.shape[0])
    sizes = [(layers * ways, batch, one) for one in (held, inner)]
    if [tuple(one.shape) for one in states] != sizes[-len(states) :]:
        return None
    if len({one.dtype for one in (x, *states, *weights)}) > 1:
        return None
    if len(weights) != per_way * ways * layers:
        return None
    for index in range(layers * ways):
        read = x.shape[2] if index < ways else ways * held
        own = [tuple(one.shape) for one in weights[index * per_way : (index + 1) * per_way]]
        wide = gates * inner
        shapes = [(wide, read), (wide, held), *([(wide,)] * 2 if biases else [])]
        if own != [*shapes, *([(held, inner)] if held != inner else [])]:
            return None
    made = _like(x, (steps, batch, ways * held))
    if batch_first:
        with unset_fake_temporarily():
            laid = torch.empty((steps, batch, ways * held), dtype=x.dtype, device="meta")
            made = FakeTensor(x.fake_mode, laid.transpose(0, 1), x.fake_device)
    return made, *(_like(one) for one in states)


def _of_axes(rank: int, given: Any) -> tuple[int, ...] | None:
    """One whole number for each axis; None for what is none."""
    values = (given,) * rank if type(given) is int else tuple(given)
    values = values * rank if len(values) == 1 else values
    whole = len(values) == rank and all(type(value) is int for value in values)
    return values if whole else None


def _is_norm_at_rest(x: Any, *more: Any, **named: Any) -> bool:
    """Whether a batch norm's result is like `x`: by stored statistics, one of each channel."""
    if named or len(more) != 8 or more[4] or None in more[2:4] or x.dim() < 2:
        return False
    rows = [one for one in more[:4] if one is not None]
    return all(one.shape == x.shape[1:2] and one.dtype == x.dtype for one in rows)
