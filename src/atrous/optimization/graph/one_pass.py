"""Element-wise operations that follow one another, as one pass over memory."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.fx import Graph, Node

from atrous.operators.kernels.elementwise import MOST_VALUES, ElementStep, elementwise_natively
from atrous.operators.kernels.torch_elementwise import fits_axes, prepare_elementwise
from atrous.optimization.graph.clean import constants_of, is_call, merged, target_of

__all__ = ["LEAST", "OnePass", "in_one_pass"]

LEAST = 4096
"""Numbers of a map: with fewer, a pass more or less takes no time."""
_MOST_INPUTS, _MOST_NODES = 10, 20

_PLAIN = {
    "aten.relu.default": "relu",
    "aten.sigmoid.default": "sigmoid",
    "aten.tanh.default": "tanh",
    "aten.silu.default": "silu",
    "aten.hardswish.default": "hardswish",
    "aten.exp.default": "exp",
    "aten.square.default": "square",
    "aten.sqrt.default": "root",
    "aten.rsqrt.default": "root_below",
    "aten.reciprocal.default": "reciprocal",
    "aten.abs.default": "absolute",
}
_BINARY = {
    "aten.add.Tensor": "plus",
    "aten.sub.Tensor": "minus",
    "aten.mul.Tensor": "times",
    "aten.div.Tensor": "over",
    "aten.maximum.default": "more",
    "aten.minimum.default": "less",
}

Function = tuple[str, float, float]
"""A function of the kernels by name, with its two parameters."""
_NOTHING: Function = ("none", 0.0, 0.0)


class OnePass:
    """Element-wise operations on tensors that broadcast to one shape, as a node calls them."""

    __name__ = "one_pass"

    def __init__(
        self,
        shape: tuple[int, ...],
        inputs: tuple[tuple[int, ...], ...],
        steps: tuple[ElementStep, ...],
        scratch: int,
        over: int = -1,
    ) -> None:
        self.inputs, self.over = inputs, over
        self.shape, self.steps, self.scratch = shape, steps, scratch
        self._run = prepare_elementwise(shape, inputs, steps, scratch, over)

    def __repr__(self) -> str:
        return self.__name__

    def __call__(self, *inputs: torch.Tensor) -> torch.Tensor:
        return self._run(*inputs)

    def overwriting(self, number: int) -> OnePass:
        """The same into the memory of its input of that number."""
        return OnePass(self.shape, self.inputs, self.steps, self.scratch, number)


def in_one_pass(graph: Graph) -> None:
    """Joins element-wise operations that only one another read, two and more of one shape."""
    if not elementwise_natively():
        return
    for node in list(graph.nodes):
        _hold_divisor(graph, node)
    constants = constants_of(graph)
    taken: set[Node] = set()
    for node in reversed(list(graph.nodes)):
        if node in taken or node in constants or _in_parts(node) is None:
            continue
        group = _grown(node, constants)
        if len(group) > 1:
            taken.update(group)
            _join(graph, node, group)


def _shape_of_node(node: Any) -> tuple[int, ...]:
    return tuple(map(int, node.meta["val"].shape))


def _is_float(node: Any) -> bool:
    made = node.meta.get("val") if isinstance(node, Node) else None
    if not isinstance(made, torch.Tensor) or made.dtype != torch.float32:
        return False
    return bool(made.device.type == "cpu")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


@dataclass(frozen=True, slots=True)
class _Parts:
    """An operation in the terms of the kernels: functions of what two operands, or one, give."""

    operands: tuple[Node, ...]
    combine: str = ""
    functions: tuple[Function, ...] = ()


def _in_parts(node: Node) -> _Parts | None:
    """What a node does; None for what is not element-wise, or no function of the kernels."""
    if not _is_float(node) or math.prod(_shape_of_node(node)) < LEAST:
        return None
    combine = _BINARY.get(target_of(node))
    if combine is not None:
        return _binary(node, combine)
    if not node.args or node.kwargs.keys() - {"approximate"} or not _is_float(node.args[0]):
        return None
    function = _functions_of(node)
    return None if function is None else _Parts((node.args[0],), "", function)


def _binary(node: Node, combine: str) -> _Parts | None:
    if len(node.args) != 2 or node.kwargs:
        return None
    left, right = node.args
    if _is_float(left) and _is_float(right):
        return _Parts((left, right), combine)
    if _is_float(left) and _is_number(right):
        return _with_number(left, combine, float(right))
    if _is_float(right) and _is_number(left) and combine in ("plus", "times"):
        return _with_number(right, combine, float(left))
    return None


def _with_number(x: Node, combine: str, value: float) -> _Parts | None:
    made: dict[str, Function] = {
        "plus": ("scaled", 1.0, value),
        "minus": ("scaled", 1.0, -value),
        "times": ("scaled", value, -0.0),  # which keeps the sign of a zero
    }
    # Other quotients are no products: PyTorch divides.
    if combine == "over" and abs(math.frexp(value)[0]) == 0.5 and 2.0**-100 < abs(value) < 2.0**100:
        made["over"] = ("scaled", 1.0 / value, -0.0)
    function = made.get(combine)
    return None if function is None else _Parts((x,), "", (function,))


def _hold_divisor(graph: Graph, node: Node) -> None:
    """Makes a number that something large is divided by a tensor of its own."""
    if not is_call(node, "aten.div.Tensor") or len(node.args) != 2 or node.kwargs:
        return
    x, value = node.args
    if not _is_float(x) or not _is_number(value) or math.prod(_shape_of_node(x)) < LEAST:
        return
    if _with_number(x, "over", float(value)) is None:
        with graph.inserting_before(node):
            held = graph.call_function(torch.full, ([], float(value)))
        held.meta["val"] = x.meta["val"].new_empty(())
        node.args = (x, held)


def _functions_of(node: Node) -> tuple[Function, ...] | None:
    """The functions, one after the other, that an operation on one tensor is."""
    rest = node.args[1:]
    if not all(value is None or _is_number(value) for value in rest):
        return None
    name = _PLAIN.get(target_of(node))
    if name is not None:
        return ((name, 0.0, 0.0),) if not rest else None
    if is_call(node, "aten.gelu.default"):
        exact = node.kwargs.get("approximate", "none") == "none"
        return (("gelu", 0.0, 0.0),) if exact else None
    if is_call(node, "aten.neg.default"):
        return (("scaled", -1.0, -0.0),)
    if is_call(node, "aten.pow.Tensor_Scalar"):
        return (("square", 0.0, 0.0),) if rest == (2,) else None
    if is_call(node, "aten.leaky_relu.default"):
        (slope,) = _with_defaults(rest, 0.01)
        return (("leaky", slope, 0.0),)
    if is_call(node, "aten.elu.default"):
        alpha, scale, before = _with_defaults(rest, 1.0, 1.0, 1.0)
        return (("elu", alpha, 0.0),) if scale == before == 1 else None
    if is_call(node, "aten.hardsigmoid.default"):
        return (("scaled", 1 / 6, 0.5), ("clamped", 0.0, 1.0))
    if is_call(node, "aten.relu6.default"):
        return (("relu6", 0.0, 0.0),)
    if is_call(node, "aten.hardtanh.default"):
        low, high = _with_defaults(rest, -1.0, 1.0)
        return (("clamped", low, high),) if low <= high else None
    if is_call(node, "aten.clamp.default"):
        low, high = _with_defaults(rest, -math.inf, math.inf)
        return (("clamped", low, high),) if low <= high else None
    return None


def _with_defaults(values: Sequence[Any], *defaults: float) -> tuple[float, ...]:
    given = [*values, *[None] * (len(defaults) - len(values))]
    return tuple(
        default if value is None else float(value)
        for value, default in zip(given, defaults, strict=True)
    )


def _grown(last: Node, constants: set[Node]) -> list[Node]:
    """What may run together with a node: of its shape, and read by nobody else; the last first."""
    group, shape = [last], _shape_of_node(last)
    if not _fits_kernels(group, shape):
        return []
    refused: set[Node] = set()
    grows = True
    while grows:
        grows = False
        for one in _read_outside(group):
            alone = one not in constants and all(user in group for user in one.users)
            if not alone or one in refused or len(group) == _MOST_NODES:
                continue
            if (
                _in_parts(one) is None
                or _shape_of_node(one) != shape
                or not _fits_kernels([*group, one], shape)
            ):
                refused.add(one)
                continue
            group.append(one)
            grows = True
    return group


def _tensors_of(node: Node) -> tuple[Node, ...]:
    parts = _in_parts(node)
    return () if parts is None else parts.operands


def _fits_kernels(group: Sequence[Node], shape: tuple[int, ...]) -> bool:
    """Whether the kernels take what a group reads."""
    read = _read_outside(group)
    return len(read) <= _MOST_INPUTS and fits_axes(shape, [_shape_of_node(one) for one in read])


def _read_outside(group: Sequence[Node]) -> list[Node]:
    """What a group reads from outside of it."""
    found = dict.fromkeys(one for node in group for one in _tensors_of(node))
    return [one for one in found if one not in group]


@dataclass(slots=True)
class _Unplaced:
    """A step whose values have no places yet: inputs, and the numbers of other steps."""

    left: Any
    right: Any
    combine: str
    function: Function


def _join(graph: Graph, last: Node, group: list[Node]) -> None:
    inside = set(group)
    ordered = [node for node in graph.nodes if node in inside]
    read = _read_outside(ordered)
    steps, scratch = _placed(_unplaced(ordered), read)
    if len(read) + scratch > MOST_VALUES:
        return
    made = OnePass(_shape_of_node(last), tuple(map(_shape_of_node, read)), steps, scratch)
    with graph.inserting_before(last):
        node = graph.call_function(made, tuple(read))
    node.meta = dict(last.meta)
    merged(node, *ordered)
    last.replace_all_uses_with(node)
    for one in reversed(ordered):
        graph.erase_node(one)


def _unplaced(ordered: Iterable[Node]) -> list[_Unplaced]:
    """The steps of operations; a function goes to the step before where only it reads that."""
    lines: list[_Unplaced] = []
    made: dict[Node, int] = {}
    ordered = list(ordered)
    uses = Counter(one for node in ordered for one in _tensors_of(node))
    for node in ordered:
        parts = _in_parts(node)
        if parts is None:  # of a group each has
            raise ValueError(f"element-wise: {node} is none of them.")
        values: list[Any] = [made.get(one, one) for one in parts.operands]
        value = values[0]
        if parts.combine:
            lines.append(_Unplaced(value, values[1], parts.combine, _NOTHING))
            value = len(lines) - 1
        for at, function in enumerate(parts.functions):
            single = at > 0 or uses[parts.operands[0]] == 1
            if isinstance(value, int) and single and lines[value].function == _NOTHING:
                lines[value].function = function
            else:
                lines.append(_Unplaced(value, None, "plus", function))
                value = len(lines) - 1
        made[node] = value
    return lines


def _placed(lines: list[_Unplaced], read: Sequence[Node]) -> tuple[tuple[ElementStep, ...], int]:
    """The steps with places for what is between them, each free again behind its last reader."""
    last = {value: n for n, line in enumerate(lines) for value in (line.left, line.right)}
    places: dict[Any, int] = {None: -1, **{node: n for n, node in enumerate(read)}}
    free: list[int] = []
    count = 0
    steps = []
    for n, line in enumerate(lines):
        left, right = places[line.left], places[line.right]
        free += [
            places[one]
            for one in {line.left, line.right}
            if isinstance(one, int) and last[one] == n
        ]
        out = -1
        if n + 1 < len(lines):
            if not free:
                free.append(len(read) + count)
                count += 1
            out = places[n] = free.pop()
        steps.append(ElementStep(left, right, line.combine, *line.function, out))
    return tuple(steps), count
