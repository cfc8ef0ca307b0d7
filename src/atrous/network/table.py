"""The op table: one rule for each kind of operation, found by its record's class."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from atrous.errors import NetworkError
from atrous.geometry import AxisMap, Everything, Local
from atrous.network.layout import Layout, Seam, Unrepresentable, channels, grid_of
from atrous.network.ops import Op, Opaque
from atrous.network.records import Tensor
from atrous.registry import Registry

__all__ = ["Effect", "effect", "rule"]


@dataclass(frozen=True, slots=True)
class Effect:
    """What one op does: the layout it makes, how each input's axes move, and where parts lie."""

    layout: Layout
    moves: tuple[Mapping[str, AxisMap], ...]
    alias: bool = False
    mixes: tuple[str, ...] = ()
    opaque: str = ""
    seams: tuple[Seam | None, ...] = ()


O = TypeVar("O", bound=Op)  # noqa: E741 - the letter of the op
Rule = Callable[[Any, tuple[Tensor, ...]], Effect]

RULES = Registry[type[Op], Rule]("rule")


def rule(kind: type[O]) -> Callable[[Callable[[O, tuple[Tensor, ...]], Effect]], Rule]:
    """Register the rule of an op's record."""
    return RULES.under(kind)


def effect(op: Op, inputs: tuple[Tensor, ...], shape: tuple[int, ...] | None = None) -> Effect:
    """The effect of `op` on `inputs`.

    Where positions cannot be followed the effect is opaque, with the reason; that needs the
    output's `shape`, and without one it is a `NetworkError`. A `shape` that disagrees with the
    rule makes the op opaque as well: a wrong position is worse than none. An op without a rule is
    an `UnknownNameError`.
    """
    function = RULES[type(op)]
    try:
        result = function(op, inputs)
    except Unrepresentable as reason:
        if shape is None:
            raise NetworkError(f"{op.kind} {reason}, so positions cannot be followed.") from None
        return opaque(str(reason), shape, len(inputs))
    if len(result.moves) < len(inputs):
        result = _with_weights(result, inputs)
    if shape is not None:
        made = tuple(_size(dim) for dim in result.layout)
        if made != shape:
            return opaque(f"makes {shape} where the rule says {made}", shape, len(inputs))
    return result


def _with_weights(result: Effect, inputs: tuple[Tensor, ...]) -> Effect:
    """Operands beyond those a rule moves are weights made from the input: each is read whole."""
    grid = grid_of(result.layout)
    whole: list[Mapping[str, AxisMap]] = [
        {axis: Everything(length, grid.get(axis, 1)) for axis, length in x.grid.items()}
        for x in inputs[len(result.moves) :]
    ]
    mixes = tuple(dict.fromkeys((*result.mixes, *mixes_of(*whole))))
    return replace(result, moves=(*result.moves, *whole), mixes=mixes)


def opaque(reason: str, shape: tuple[int, ...], inputs: int) -> Effect:
    """The effect of something not understood."""
    layout = tuple(channels(size) for size in shape)
    return Effect(layout, ({},) * inputs, opaque=reason)


def mixes_of(*moves: Mapping[str, AxisMap]) -> tuple[str, ...]:
    """The axes along which any operand is read as a whole, not locally."""
    names: dict[str, None] = {}
    for move in moves:
        for axis, axis_map in move.items():
            if not isinstance(axis_map, Local) and axis_map.inputs > 1:
                names[axis] = None
    return tuple(names)


def _size(dim: tuple[Any, ...]) -> int:
    size = 1
    for atom in dim:
        size *= atom.size
    return size


@rule(Opaque)
def _opaque(op: Opaque, inputs: tuple[Tensor, ...]) -> Effect:
    return opaque(op.reason, op.shape, len(inputs))
