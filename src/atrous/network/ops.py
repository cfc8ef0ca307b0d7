"""The vocabulary of the op table: one frozen record for each kind of operation.

A record says what an op does, in the terms that all frameworks share; the rules beside it say how
it moves positions and what it costs. Readers translate into these and nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar, Literal

from atrous.geometry import (
    Box,
    Coordinates,
    Interpolation,
    Reads,
    Rounding,
    Window,
    Windowed,
    kept_taps,
)

__all__ = [
    "AdaptivePool",
    "Attention",
    "Concat",
    "Constant",
    "Contract",
    "Conv",
    "ConvTranspose",
    "Deform",
    "Elementwise",
    "Expand",
    "Filtered",
    "Fold",
    "Linear",
    "Lookup",
    "Mix",
    "Op",
    "Opaque",
    "Pad",
    "Permute",
    "Pick",
    "Pool",
    "Reduce",
    "Reorder",
    "Repeat",
    "Reshape",
    "Resize",
    "Roll",
    "Sample",
    "Scan",
    "Shuffle",
    "Slice",
    "Tap",
    "Transform",
    "Unfold",
    "Unpool",
    "Windows",
]

PadMode = Literal["constant", "reflect", "replicate", "circular"]
Tap = tuple[int, ...]
"""One index along each axis of a window."""


@dataclass(frozen=True, slots=True)
class Op:
    """Any operation. `label` is what a reader of a report calls it, where that is not the kind."""

    kind: ClassVar[str] = "op"


class Filtered(Windowed):
    """What slides a weight along its windows; the weight is 0 for all channels at `unread` taps."""

    __slots__ = ()

    unread: tuple[Tap, ...]

    @property
    def parts(self) -> tuple[Box, ...]:
        """The taps that are read, as boxes: the input is an operand once for each of them."""
        return kept_taps(self.kernel, self.unread)


@dataclass(frozen=True, slots=True)
class Conv(Filtered, Op):
    """A convolution over the last dimensions, one window each; channels are the dimension before.

    `padding_mode` says what the windows' padding is filled with; taps that are `unread` count in
    its costs.
    """

    windows: tuple[Window, ...]
    channels: int
    groups: int = 1
    padding_mode: PadMode = "constant"
    unread: tuple[Tap, ...] = ()
    kind: ClassVar[str] = "conv"


@dataclass(frozen=True, slots=True)
class ConvTranspose(Filtered, Op):
    """A transposed convolution: each window run backwards."""

    windows: tuple[Window, ...]
    channels: int
    groups: int = 1
    output_padding: tuple[int, ...] = ()
    unread: tuple[Tap, ...] = ()
    kind: ClassVar[str] = "conv_transpose"


@dataclass(frozen=True, slots=True)
class Pool(Windowed, Op):
    """A max, average or other pool over the last dimensions.

    `channelwise` is always true of pools; `ceil` counts a last, partial window. An average divides
    by the taps inside the map, and with `count_include_pad` by those in its padding as well: that
    of the windows, or where `counted` gives it that `(lo, hi)` of each axis.
    """

    windows: tuple[Window, ...]
    how: Literal["max", "average", "lp"] = "max"
    ceil: bool = False
    count_include_pad: bool = True
    counted: tuple[tuple[int, int], ...] = ()
    kind: ClassVar[str] = "pool"


@dataclass(frozen=True, slots=True)
class AdaptivePool(Op):
    """A pool over the last dimensions to fixed output sizes; size 1 is global pooling."""

    sizes: tuple[int, ...]
    how: Literal["max", "average"] = "average"
    kind: ClassVar[str] = "adaptive_pool"


@dataclass(frozen=True, slots=True)
class Resize(Op):
    """Interpolation over the last dimensions to `sizes`; `scales` where the user gave them."""

    sizes: tuple[int, ...]
    how: Interpolation = "nearest"
    coordinates: Coordinates = "asymmetric"
    scales: tuple[Fraction | None, ...] = ()
    rounding: Rounding = "floor"
    antialias: bool = False
    kind: ClassVar[str] = "resize"


@dataclass(frozen=True, slots=True)
class Pad(Op):
    """Padding by `(lo, hi)` of each of the last dimensions; negative numbers crop.

    Where `phases` are given, each of the maps of every `phases`-th position is padded by itself.
    `value` is what constant padding is filled with, where the source says it.
    """

    pads: tuple[tuple[int, int], ...]
    mode: PadMode = "constant"
    phases: tuple[int, ...] = ()
    value: float = 0.0
    kind: ClassVar[str] = "pad"


@dataclass(frozen=True, slots=True)
class Slice(Op):
    """`length` indices of dimension `dim` from `start` in steps of `step`.

    `drop` takes the dimension away (length 1 only).
    """

    dim: int
    start: int
    length: int
    step: int = 1
    drop: bool = False
    kind: ClassVar[str] = "slice"


@dataclass(frozen=True, slots=True)
class Concat(Op):
    """A concatenation along dimension `dim`."""

    dim: int
    kind: ClassVar[str] = "concat"


@dataclass(frozen=True, slots=True)
class Roll(Op):
    """A circular shift of dimension `dim`: output `o` reads `o - shift`, counted round the end."""

    dim: int
    shift: int
    kind: ClassVar[str] = "roll"


@dataclass(frozen=True, slots=True)
class Repeat(Op):
    """Dimension `dim` laid out `times` times one after the other, or `each` index of it."""

    dim: int
    times: int
    each: bool = False
    kind: ClassVar[str] = "repeat"


@dataclass(frozen=True, slots=True)
class Reshape(Op):
    """The same elements in the same order under a new shape."""

    shape: tuple[int, ...]
    kind: ClassVar[str] = "reshape"


@dataclass(frozen=True, slots=True)
class Permute(Op):
    """The dimensions in a new order."""

    order: tuple[int, ...]
    kind: ClassVar[str] = "permute"


@dataclass(frozen=True, slots=True)
class Expand(Op):
    """Broadcasting to a shape."""

    shape: tuple[int, ...]
    kind: ClassVar[str] = "expand"


@dataclass(frozen=True, slots=True)
class Shuffle(Op):
    """Depth to space by `factor` along the last dimensions, or space to depth where `down`."""

    factors: tuple[int, ...]
    down: bool = False
    kind: ClassVar[str] = "pixel_shuffle"


@dataclass(frozen=True, slots=True)
class Unfold(Windowed, Op):
    """Sliding windows laid out in the channels, positions flattened into one dimension (im2col)."""

    windows: tuple[Window, ...]
    kind: ClassVar[str] = "unfold"


@dataclass(frozen=True, slots=True)
class Fold(Windowed, Op):
    """Windows laid out in the channels, one for each position, added up where they overlap.

    The inverse of `Unfold` (col2im), on positions that are dimensions of their own; each position
    counts as read by its whole window.
    """

    windows: tuple[Window, ...]
    output_padding: tuple[int, ...] = ()
    kind: ClassVar[str] = "fold"


@dataclass(frozen=True, slots=True)
class Unpool(Windowed, Op):
    """Each value put back to the place in its window where the maximum of a pool was.

    The second operand holds the places. Outputs between are 0, whatever window they lie in.
    """

    windows: tuple[Window, ...]
    sizes: tuple[int, ...]
    kind: ClassVar[str] = "unpool"


@dataclass(frozen=True, slots=True)
class Sample(Op):
    """The map read at places that a grid says, for outputs of `sizes` along the last dimensions.

    The second operand is the grid: batch, outputs, and one coordinate for each dimension; where it
    is left out, it is a constant. Which positions are read, its numbers decide; where they are
    known, and each coordinate follows one dimension, `reads` has what is read along each.
    """

    sizes: tuple[int, ...]
    reads: tuple[Reads, ...] = ()
    label: str = "grid_sample"
    kind: ClassVar[str] = "sample"


@dataclass(frozen=True, slots=True)
class Deform(Windowed, Op):
    """A convolution each of whose taps is moved by an offset (Dai et al. 2017).

    Offsets, and a mask that scales each tap, are the operands behind the first: what they hold at
    an output decides which positions are read there.
    """

    windows: tuple[Window, ...]
    channels: int
    groups: int = 1
    kind: ClassVar[str] = "deform_conv"


@dataclass(frozen=True, slots=True)
class Transform(Op):
    """A Fourier transform along `dims`, which have `sizes` afterwards: each output reads all.

    `lengths` are the points of each transform; `real` says that one side of it is of real numbers.
    """

    dims: tuple[int, ...]
    sizes: tuple[int, ...]
    lengths: tuple[int, ...]
    real: bool = False
    label: str = "fft"
    kind: ClassVar[str] = "transform"


@dataclass(frozen=True, slots=True)
class Windows(Op):
    """Sliding windows along dimension `dim`, laid out in a new last dimension (Tensor.unfold).

    Each index of the new dimension counts as reading its whole window, as in `Unfold`; but for the
    taps that are `unread`, since what follows multiplies them by 0.
    """

    dim: int
    window: Window
    unread: tuple[Tap, ...] = ()
    kind: ClassVar[str] = "windows"


@dataclass(frozen=True, slots=True)
class Elementwise(Op):
    """Any function of elements at the same place, with broadcasting: activations, sums, scaling.

    Batch norm at inference is one. `label` is the name of the function.
    """

    label: str
    in_place: bool = False
    kind: ClassVar[str] = "elementwise"


@dataclass(frozen=True, slots=True)
class Reorder(Op):
    """A permutation or choice of channels along `dim`; `length` is what comes out."""

    dim: int
    length: int
    kind: ClassVar[str] = "reorder"


@dataclass(frozen=True, slots=True)
class Pick(Op):
    """The indices `places` of dimension `dim`, in that order: output `o` reads `places[o]`."""

    dim: int
    places: tuple[int, ...]
    kind: ClassVar[str] = "pick"


@dataclass(frozen=True, slots=True)
class Lookup(Op):
    """A table look-up of each element: adds a last dimension of `channels`."""

    channels: int
    kind: ClassVar[str] = "lookup"


@dataclass(frozen=True, slots=True)
class Linear(Op):
    """A matrix over the last dimension, to `channels` outputs.

    It is 0 for all of them at the indices of the last dimension that are `unread`.
    """

    channels: int
    unread: tuple[int, ...] = ()
    kind: ClassVar[str] = "linear"


@dataclass(frozen=True, slots=True)
class Contract(Op):
    """A product of two tensors summed over shared indices, in einsum's notation.

    Indices that both operands and the output hold are aligned.
    """

    equation: str
    kind: ClassVar[str] = "matmul"


@dataclass(frozen=True, slots=True)
class Attention(Op):
    """Scaled dot-product attention over `(..., tokens, channels)` query, key and value.

    `window` is how many tokens before its own and behind it each one sees, where a mask says so.
    """

    causal: bool = False
    window: tuple[int, int] | None = None
    kind: ClassVar[str] = "attention"


@dataclass(frozen=True, slots=True)
class Mix(Op):
    """Anything in which all elements along `dims` see one another and the shape stays.

    Softmax, layer norm, group norm, sorting. Where the dimensions hold only channels, positions
    are not touched.
    """

    dims: tuple[int, ...]
    label: str = "mix"
    kind: ClassVar[str] = "mix"


@dataclass(frozen=True, slots=True)
class Reduce(Op):
    """A sum, mean, maximum or the like over `dims`, kept with size 1 where `keep`."""

    dims: tuple[int, ...]
    keep: bool = False
    label: str = "mean"
    kind: ClassVar[str] = "reduce"


@dataclass(frozen=True, slots=True)
class Scan(Op):
    """A recurrence along `dim`: output `o` reads its past, its future, or both.

    `channels` replaces the last dimension where given; `macs` counts one step of one sequence.
    """

    dim: int
    direction: Literal["forward", "reverse", "both"] = "forward"
    channels: int | None = None
    macs: int = 0
    label: str = "scan"
    kind: ClassVar[str] = "scan"


@dataclass(frozen=True, slots=True)
class Constant(Op):
    """A tensor that does not depend on the input; `macs` is what every run pays for making it."""

    shape: tuple[int, ...]
    macs: int = 0
    label: str = ""
    kind: ClassVar[str] = "constant"


@dataclass(frozen=True, slots=True)
class Opaque(Op):
    """An operation whose reads are not known, and why. Results behind it are partial.

    `macs` is what it costs where its shapes tell; `sized` is False where nothing says what shape it
    makes, which then is `()`.
    """

    label: str
    reason: str
    shape: tuple[int, ...]
    macs: int | None = None
    sized: bool = True
    kind: ClassVar[str] = "opaque"
