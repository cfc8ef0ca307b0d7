"""ONNX's sequences of tensors: pieces split off, picked out, put together again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate

from atrous.network.ops import Concat, Slice
from atrous.readers.call import NotUnderstood
from atrous.readers.onnx.call import OnnxCall
from atrous.readers.onnx.values import Const, Live, Value
from atrous.registry import Registry
from atrous.shown import how_many

__all__ = ["SEQUENCES", "Pieces", "follow_sequence"]

SEQUENCES = Registry[str, Callable[[OnnxCall], Value]]("translation")
_MOST_PIECES = 4096


class Pieces(Live):
    """A sequence. To whatever does not know sequences it is a tensor of unknown shape."""

    __slots__ = ("parts",)

    def __init__(self, parts: Sequence[Value]) -> None:
        live = next((part for part in parts if isinstance(part, Live)), None)
        if live is None:
            raise NotUnderstood("makes a sequence of constants")
        super().__init__(live.tensor, live.dtype, "the shape of what it reads depends on data")
        self.parts = tuple(parts)


def follow_sequence(call: OnnxCall) -> Value | None:
    """What the call makes; None, and no op, for anything that depends on data."""
    before = call.builder.mark()
    try:
        return SEQUENCES[call.op](call)
    except NotUnderstood:
        call.builder.undo(before)
        return None


@SEQUENCES.under("SequenceConstruct")
def _sequence_construct(call: OnnxCall) -> Value:
    """The inputs, as they are."""
    return Pieces([value for value in call.inputs if value is not None])


@SEQUENCES.under("SplitToSequence")
def _split_to_sequence(call: OnnxCall) -> Value:
    """Piece `p` reads `o` plus the sizes before it along `axis`."""
    value = call.value(0)
    if not isinstance(value, Live) or isinstance(value, Pieces) or value.unknown:
        raise NotUnderstood("splits what is not a tensor of a known shape")
    if not call.integer("keepdims", 1) and call[1] is None:
        raise NotUnderstood("splits into pieces without the dimension")
    x, dtype = value.tensor, value.dtype
    dim = call.axis(call.integer("axis"), len(x.shape))
    sizes = _sizes(call, x.shape[dim])
    places = zip(accumulate(sizes, initial=0), sizes, strict=False)
    return Pieces([Live(call.step(Slice(dim, *place), x), dtype) for place in places])


@SEQUENCES.under("SequenceAt")
def _sequence_at(call: OnnxCall) -> Value:
    """One of the pieces, as it is."""
    parts = _held(call).parts
    (place,) = call.integers_at(1, "position") or (0,)
    if not -len(parts) <= place < len(parts):
        raise NotUnderstood(f"picks piece {place} of {len(parts)}")
    return parts[place]


@SEQUENCES.under("ConcatFromSequence")
def _concat_from_sequence(call: OnnxCall) -> Value:
    """Piece `p` is read at `o` minus the sizes before it along `axis`."""
    held = _held(call)
    if call.integer("new_axis"):
        raise NotUnderstood("stacks a sequence along a new dimension")
    tensors = [call.materialized(part) for part in held.parts]
    dim = call.axis(call.integer("axis"), len(tensors[0].shape))
    return Live(call.step(Concat(dim), *tensors), held.dtype)


def _held(call: OnnxCall) -> Pieces:
    """The sequence that input 0 is."""
    held = call.value(0)
    if not isinstance(held, Pieces):
        raise NotUnderstood("reads a sequence that is not followed")
    return held


def _sizes(call: OnnxCall, length: int) -> Sequence[int]:
    """The sizes of the pieces: a list, or one for all (1 where left out) and a shorter last one."""
    given = call[1]
    numbers = (1,) if given is None else call.integers_at(1, "sizes") or ()
    scalar = given is None or (isinstance(given, Const) and given.shape == ())
    if not numbers or min(numbers) < 1:
        raise NotUnderstood("splits into pieces of no size")
    if scalar:
        if length // numbers[0] > _MOST_PIECES:
            raise NotUnderstood(
                f"splits {how_many(length, 'position')} into pieces of {numbers[0]}"
            )
        whole, rest = divmod(length, numbers[0])
        numbers = (numbers[0],) * whole + ((rest,) if rest else ())
    if sum(numbers) != length or len(numbers) > _MOST_PIECES:
        raise NotUnderstood(f"splits {how_many(length, 'position')} into pieces of {numbers[:8]}")
    return numbers
