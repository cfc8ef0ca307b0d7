"""What each op becomes behind a map that holds more positions: one rule for each kind."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any, TypeVar

from atrous.geometry import Dense, Tail, Window
from atrous.network.ops import (
    AdaptivePool,
    Attention,
    Concat,
    Constant,
    Contract,
    Conv,
    ConvTranspose,
    Elementwise,
    Expand,
    Linear,
    Lookup,
    Mix,
    Op,
    Opaque,
    Pad,
    Permute,
    Pool,
    Reduce,
    Reorder,
    Reshape,
    Resize,
    Slice,
)
from atrous.network.walk import Place, resized, window_axes
from atrous.refusal import Refusal
from atrous.registry import Registry

__all__ = ["Around", "Replacement", "dilated"]


@dataclass(slots=True)
class Around:
    """What a rule may know: factors and strides before the op, by axis, and what is wanted.

    `seen` says, for each length that the original has along an axis, what it has become and by
    which factor; `sizes` the same for dimensions of any make; `padded` how many positions a padding
    just before has added; `after` the strides behind the op; `parts` names the slices that together
    take all phases of a map. `aside` has the axes along which what comes out lies aside, and
    `coarsened` says which op made a map coarser than wanted that no stride can make finer.
    """

    factors: dict[str, int]
    strides: dict[str, Fraction]
    target: Mapping[str, int]
    seen: Mapping[tuple[str, int], tuple[int, int]]
    sizes: Mapping[int, int]
    padded: dict[str, int]
    axes: tuple[str, ...]
    after: Mapping[str, Fraction]
    parts: Collection[str]
    tail: Tail = "crop"
    keep: bool = False
    aside: Collection[str] = ()
    coarsened: Callable[[str], str] = str


@dataclass(frozen=True, slots=True)
class Replacement:
    """What a rule makes of an op: the op that takes its place, and the factors that come out."""

    op: Op
    factors: dict[str, int]
    axes: tuple[str | None, ...] = ()
    dense: tuple[Dense, ...] = ()
    padded: dict[str, int] = field(default_factory=dict)


O = TypeVar("O", bound=Op)  # noqa: E741 - the letter of the op
_Rule = Callable[[Any, Place, Around], Replacement | Refusal]
_RULES = Registry[type[Op], _Rule]("rule")
_dilates = _RULES.under


def dilated(place: Place, around: Around) -> Replacement | Refusal:
    """What the op becomes behind maps with more positions, or why nothing can take its place.

    Every op that moves no positions stays as it is; one that has no rule is refused where a
    factor above 1 meets it.
    """
    rule = _RULES.get(type(place.node.op))
    try:
        if rule is not None:
            return rule(place.node.op, place, around)
        if all(factor == 1 for factor in around.factors.values()):
            return Replacement(place.node.op, dict(around.factors))
    except ValueError as reason:
        if _fine(around):
            # Digits of an axis (space-to-depth, windows) where nothing is to be done.
            return Replacement(place.node.op, dict(around.factors))
        return Refusal(
            place.node.kind,
            place.node.name,
            f"{reason}; convert the part before it (outputs=...).",
        )
    return Refusal(
        place.node.kind,
        place.node.name,
        f"there is no rule for {place.node.kind} on a map whose stride has been removed; convert "
        f"up to the layer before it (outputs=...).",
    )


def _kept_stride(op_stride: int, axis: str, around: Around) -> int | str:
    """The stride that an op keeps along an axis, or the reason why the target cannot be met."""
    target = around.target.get(axis)
    if axis in around.aside:
        # Of keys and values the original's own are kept, and no others made.
        return op_stride * around.factors[axis] if op_stride > 1 else op_stride
    here = around.strides[axis] / around.factors[axis]
    if target is None or here * op_stride <= target:
        return op_stride
    if here > target:
        return (
            f"its map has a stride of {here} along {axis}, which {around.coarsened(axis)} gives it "
            f"and no change of strides makes finer; ask for output_stride={here}, or convert "
            "the part before that (outputs=...)"
        )
    left = Fraction(target) / here
    if left.denominator != 1 or op_stride % left.numerator:
        return (
            f"output_stride={target} lies between {here} and {here * op_stride} along "
            f"{axis}, the strides before and behind this layer; ask for one of them"
        )
    return left.numerator


def _dense_along(window: Window, axis: str | None, around: Around, *, ceil: bool) -> Dense | str:
    if axis is None:
        return Dense(window, 1, window.stride, ceil)
    stride = _kept_stride(window.stride, axis, around)
    if isinstance(stride, str):
        return stride
    factor = around.factors[axis]
    padded = around.padded.get(axis, 0)
    return Dense(window, factor, stride, ceil, tail=around.tail, padded=padded)


def _unchanged(dense: Dense) -> bool:
    return dense.factor == 1 and dense.stride == dense.window.stride


def _slid(
    place: Place, around: Around, windows: tuple[Window, ...], *, ceil: bool = False
) -> tuple[tuple[str | None, ...], list[Dense], list[Window]] | Refusal:
    axes = window_axes(place.node, place.old[0])
    found: list[Dense] = []
    made: list[Window] = []
    for window, axis in zip(windows, axes, strict=True):
        one = _dense_along(window, axis, around, ceil=ceil)
        if isinstance(one, str):
            return Refusal("output stride", place.node.name, f"{one}.")
        found.append(one)
        made.append(window if axis is None or _unchanged(one) else one.at(place.length(axis)))
    return axes, found, made


def counted_pads(
    dense: Sequence[Dense], windows: Sequence[Window], before: Sequence[tuple[int, int]] = ()
) -> tuple[tuple[int, int], ...]:
    """What an average counts of the padding of dense windows; empty where it is all of it."""
    was = before or [one.window.padding for one in dense]
    held = tuple(
        (one.factor * lo, one.factor * hi) for one, (lo, hi) in zip(dense, was, strict=True)
    )
    return () if held == tuple(w.padding for w in windows) else held


def _fine(around: Around) -> bool:
    """True where nothing before the op has changed and nothing behind it is too coarse."""
    return all(factor == 1 for factor in around.factors.values()) and all(
        stride <= around.target.get(axis, stride) for axis, stride in around.after.items()
    )


def _outward(axes: tuple[str | None, ...], dense: list[Dense], around: Around) -> dict[str, int]:
    factors = dict(around.factors)
    for axis, one in zip(axes, dense, strict=True):
        if axis is not None:
            factors[axis] = one.outward
    return factors


@_dilates(Conv)
def _conv(op: Conv, place: Place, around: Around) -> Replacement | Refusal:
    found = _slid(place, around, op.windows)
    if isinstance(found, Refusal):
        return found
    axes, dense, windows = found
    factors = _outward(axes, dense, around)
    after = replace(op, windows=tuple(windows))
    if around.keep or after == op:
        return Replacement(op, factors, axes)
    return Replacement(after, factors, axes, tuple(dense))


@_dilates(Pool)
def _pool(op: Pool, place: Place, around: Around) -> Replacement | Refusal:
    found = _slid(place, around, op.windows, ceil=op.ceil)
    if isinstance(found, Refusal):
        return found
    axes, dense, windows = found
    factors = _outward(axes, dense, around)
    if tuple(windows) == op.windows:
        return Replacement(op, factors, axes)
    after = replace(op, windows=tuple(windows), ceil=op.ceil and any(map(_unchanged, dense)))
    if op.how == "average" and op.count_include_pad:
        after = replace(after, counted=counted_pads(dense, windows, op.counted))
    return Replacement(after, factors, axes, tuple(dense))


@_dilates(Slice)
def _slice(op: Slice, place: Place, around: Around) -> Replacement | Refusal:
    x = place.old[0]
    (axis,) = window_axes(place.node, x)
    if axis is None:
        return Replacement(op, dict(around.factors))
    rest = x.grid[axis] - op.start - (op.length - 1) * op.step - 1
    window = Window(1, op.step, 1, -op.start, -rest)
    one = _dense_along(window, axis, around, ceil=False)
    if isinstance(one, str):
        return Refusal("output stride", place.node.name, f"{one}.")
    if _unchanged(one):
        return Replacement(op, dict(around.factors))
    length = place.length(axis)
    made = one.at(length)
    if place.node.output.name in around.parts or op.step == 1 or rest >= op.step:
        # One of several phases of a map, which all keep one length; or a crop.
        w = one.window
        lo, hi = one.factor * w.pad_lo, one.factor * w.pad_hi
        made = Window(1, one.stride, pad_lo=lo, pad_hi=hi)
    outputs = 1 if op.drop else made.output_length(length)
    if made.pad_hi > 0:
        outputs = (length + made.pad_lo - 1) // made.stride + 1
    after = replace(op, start=-made.pad_lo, length=outputs, step=made.stride)
    factors = {**around.factors, axis: one.outward}
    if made.pad_hi >= 0:
        one = replace(one, window=replace(window, pad_hi=0))  # it goes on to the end
    return Replacement(after, factors, (axis,), (one,))


@_dilates(Pad)
def _pad(op: Pad, place: Place, around: Around) -> Replacement | Refusal:
    axes = window_axes(place.node, place.old[0])
    pads, turns = [], []
    padded = {}
    for (lo, hi), axis in zip(op.pads, axes, strict=True):
        factor = around.factors[axis] if axis is not None else 1
        pads.append((factor * lo, factor * hi))
        turns.append(factor if op.mode != "constant" else 1)
        if axis is not None:
            padded[axis] = around.padded.get(axis, 0) + max(factor * (lo + hi), 0)
    if all(turn == 1 for turn in turns) and tuple(pads) == op.pads:
        return Replacement(op, dict(around.factors), axes, padded=padded)
    dense = tuple(
        Dense(Window(1, 1, 1, lo, hi), around.factors.get(axis or "", 1))
        for (lo, hi), axis in zip(op.pads, axes, strict=True)
    )
    after = replace(op, pads=tuple(pads), phases=tuple(turns) if max(turns) > 1 else ())
    return Replacement(after, dict(around.factors), axes, dense, padded)


@_dilates(ConvTranspose)
def _conv_transpose(op: ConvTranspose, place: Place, around: Around) -> Replacement | Refusal:
    axes = window_axes(place.node, place.old[0])
    windows = []
    for window, axis in zip(op.windows, axes, strict=True):
        factor = around.factors[axis] if axis is not None else 1
        if factor > 1 and window.stride > 1:
            return Refusal(
                "transposed convolution",
                place.node.name,
                f"it spreads each position over {window.stride}, and behind a map whose stride of "
                f"{factor} has been removed it would read between the positions that it was made "
                "for; convert the part before it (outputs=...).",
            )
        windows.append(
            Window(
                window.kernel,
                window.stride,
                factor * window.dilation,
                factor * window.pad_lo,
                factor * window.pad_hi,
            )
        )
    return Replacement(replace(op, windows=tuple(windows)), dict(around.factors), axes)


@_dilates(Resize)
def _resize(op: Resize, place: Place, around: Around) -> Replacement | Refusal:
    axes = window_axes(place.node, place.old[0])
    scales = op.scales or (None,) * len(op.sizes)
    factors = dict(around.factors)
    sizes = []
    for index, (size, axis, scale) in enumerate(zip(op.sizes, axes, scales, strict=True)):
        name = axis or around.axes[len(around.axes) - len(op.sizes) + index]
        if axis is not None and scale is not None:
            now = place.length(axis)
            sizes.append(size if now == place.old[0].grid[axis] else int(now * scale))
            continue
        # A size that the code takes from another map follows that map.
        length, factor = around.seen.get((name, size), (size, 1))
        sizes.append(length)
        if axis is not None:
            factors[axis] = factor
    return Replacement(replace(op, sizes=tuple(sizes)), factors, axes)


@_dilates(AdaptivePool)
def _adaptive_pool(op: AdaptivePool, _place: Place, around: Around) -> Replacement | Refusal:
    return Replacement(op, dict.fromkeys(around.factors, 1))


@_dilates(Reshape, Expand)
def _reshape(op: Reshape | Expand, place: Place, around: Around) -> Replacement | Refusal:
    lengths = {axis: size for x in place.new for axis, size in x.grid.items()}
    old = place.node.output
    shape = resized(op.shape, old, lengths)
    if isinstance(op, Expand):
        # What is spread over a map takes the size that the map has now.
        before = (1,) * (len(op.shape) - len(place.old[0].shape)) + place.old[0].shape
        shape = tuple(
            around.sizes.get(size, made) if was == 1 and made == size > 1 else made
            for was, size, made in zip(before, op.shape, shape, strict=True)
        )
    return Replacement(replace(op, shape=shape), dict(around.factors))


@_dilates(
    Attention,
    Concat,
    Constant,
    Contract,
    Elementwise,
    Linear,
    Lookup,
    Mix,
    Permute,
    Reduce,
    Reorder,
)
def _positionless(op: Op, place: Place, around: Around) -> Replacement | Refusal:
    if isinstance(op, Attention) and op.window and any(n > 1 for n in around.factors.values()):
        return Refusal(
            "attention",
            place.node.name,
            "its mask lets each position see so many around it, which would be others at another "
            "stride; convert the part before it (outputs=...).",
        )
    if isinstance(op, Concat) and around.factors:
        held = [x.layout[op.dim] for x in place.old]
        along = {atom.axis for dim in held for atom in dim} - {None}
        if any(around.factors.get(str(axis), 1) > 1 for axis in along):
            return Refusal(
                "concat",
                place.node.name,
                "it lays maps end to end along an axis whose stride has been removed; convert the "
                "part before it (outputs=...).",
            )
    return Replacement(op, dict(around.factors))


@_dilates(Opaque)
def _opaque(op: Opaque, place: Place, _around: Around) -> Replacement | Refusal:
    return Refusal(
        "opaque",
        place.node.name,
        f"{op.label} is not understood ({op.reason}), so nothing behind it can be converted with "
        "proof; convert the part before it (outputs=...), or write it in other ops.",
    )
