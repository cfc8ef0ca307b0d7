"""The stack notation: a chain of layers in one line of text, such as `k3s2x64 k3d2 maxk2s2`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Literal, NoReturn, get_args

from atrous.errors import ReadError, concerning
from atrous.geometry import Dialect, Window, pad, transposed_pads
from atrous.network.builder import AXES, Builder, per_axis
from atrous.network.ops import Resize
from atrous.network.records import Network, Tensor

__all__ = ["StackLayer", "parse_stack", "stack_network"]

Kind = Literal["conv", "dw", "max", "avg", "tconv", "up"]
StackPadding = Literal["same", "valid", "causal"]

_KINDS: tuple[Kind, ...] = get_args(Kind)
_PADDINGS: tuple[StackPadding, ...] = get_args(StackPadding)
_NUMBERS = {"k": "kernel", "s": "stride", "d": "dilation", "p": "padding", "x": "channels"}

# What one number, the number of layers, what a stack reads and what it upsamples by may reach: the
# reads are held position by position, so nothing may grow with an absurd number.
_LARGEST = 1 << 16
_MOST_LAYERS = 1 << 12
_FARTHEST = 1 << 18
_FINEST = 1 << 12
_SHOWN = 72

_LETTERS = re.compile(r"[a-z]+", re.ASCII)
_WORD = re.compile(r"(?:\([^()]*\)|\S)+", re.ASCII)
_VALUES = re.compile(r"\(([^()]*)\)|([+-]?\d+)", re.ASCII)
_VALUE = re.compile(r"[+-]?\d+", re.ASCII)


@dataclass(frozen=True, slots=True)
class StackLayer:
    """One layer of a stack; `str` writes it in the notation, with what is usual left out.

    `kernel`, `stride` and `dilation` hold one value for each spatial axis, or one for all of them.
    `channels` is None where the layer keeps its input's number. `name` is kind and place, from 1.

    >>> layer = parse_stack("k3 maxk(1,2)s(1,2)valid")[1]
    >>> layer.name, layer.kernel, layer.padding
    ('max2', (1, 2), 'valid')
    >>> str(layer)
    'maxk(1,2)s(1,2)valid'
    """

    kind: Kind
    kernel: tuple[int, ...] = (1,)
    stride: tuple[int, ...] = (1,)
    dilation: tuple[int, ...] = (1,)
    padding: StackPadding | tuple[int, int] = "same"
    channels: int | None = None
    name: str = field(default="", compare=False)

    def __str__(self) -> str:
        text: str = "" if self.kind == "conv" else self.kind
        if self.kind != "up":
            text += f"k{_written(self.kernel)}"
        if self.stride != (1,) or self.kind == "up":
            text += f"s{_written(self.stride)}"
        if self.dilation != (1,):
            text += f"d{_written(self.dilation)}"
        if isinstance(self.padding, tuple):
            text += f"p({self.padding[0]},{self.padding[1]})"
        elif self.padding != "same":
            text += self.padding
        return text if self.channels is None else f"{text}x{self.channels}"


def parse_stack(text: str) -> tuple[StackLayer, ...]:
    """The layers that a text in the stack notation names, in order.

    Layers are separated by spaces. Each is a kind (`conv`, `dw` for depthwise, `max`, `avg`,
    `tconv` for transposed, `up` for nearest upsampling; `conv` where left out) followed, in any
    order, by

    - `k3` kernel, which only `up` goes without; `s2` stride, `d2` dilation, both 1 where left out,
      for pools too; `k(1,7)` gives one value for each spatial axis;
    - `same` (the default), `valid`, `causal` or `p(LO,HI)`, the padding of each axis; `p1` is
      `p(1,1)`, and negative numbers crop;
    - `x64` output channels; left out, the input's number is kept. Pools and `up` take none.

    `up` takes nothing but its factor, as a stride: `ups2`. `same` pads by extent - 1 in all,
    whatever the stride, as `atrous.conv` does (TensorFlow's SAME is its `same_upper`);
    a transposed layer under `same` or `causal` makes exactly stride times as many outputs.

    Raises `ReadError`: its first line says what is wrong, the lines below it show where.

    >>> [str(layer) for layer in parse_stack("convk3s2samex64 k3d1 ups2")]
    ['k3s2x64', 'k3', 'ups2']
    >>> parse_stack("k3s2x64 k3q2")
    Traceback (most recent call last):
        ...
    atrous.errors.ReadError: layer 2 `k3q2`: 'q' is not known; use k s d p x, same, valid or causal.
      k3s2x64 k3q2
                ^
    """
    words = list(_WORD.finditer(text))
    if not words:
        raise ReadError("the stack has no layers; write some, such as `k3s2x64 k3d2`.")
    if len(words) > _MOST_LAYERS:
        raise ReadError(
            f"the stack has {len(words):,} layers, of which at most {_MOST_LAYERS:,} are read; "
            "build longer networks with atrous.Builder."
        )
    return tuple(
        _Word(text, word.start(), word.end(), place).layer() for place, word in enumerate(words, 1)
    )


def stack_network(text: str, shape: Sequence[int]) -> Network:
    """The network of a text in the stack notation, on an input with batch and channels.

    The number of spatial axes, 1 to 3, is that of the shape. Nodes are named by kind and place.
    Raises `ReadError` for a text or a shape that cannot be read, `GeometryError` or `NetworkError`
    naming the layer that does not fit its input.

    >>> print(stack_network("k3s2x64 k3d2x128", (1, 3, 64, 64)))
    k3s2x64 k3d2x128: 2 nodes, input x 1x3x64x64, 75,456 parameters, 77,266,944 MACs
    """
    layers = parse_stack(text)
    rank = len(shape) - 2
    if rank not in AXES:
        raise ReadError(
            f"a stack takes an input of batch, channels and 1 to 3 spatial sizes, got "
            f"{_shown_shape(shape)}; give a shape such as 1,3,224,224."
        )
    written = " ".join(map(str, layers))
    b = Builder(written if len(written) <= _SHOWN else f"{written[: _SHOWN - 3]}...")
    x = b.input("x", shape)
    reach = _Reach(rank)
    for layer in layers:
        with concerning(layer.name):
            reach.check(layer)
            x = _add(b, x, layer, rank)
    return b.build(x)


def _add(b: Builder, x: Tensor, layer: StackLayer, rank: int) -> Tensor:
    stride = per_axis(layer.stride, rank, "stride")
    sizes = x.shape[2:]
    if layer.kind == "up":
        up = tuple(n * s for n, s in zip(sizes, stride, strict=True))
        scales = tuple(map(Fraction, stride))
        # The sample nearest to the output's middle: each is repeated exactly, at any length.
        op = Resize(up, "nearest", "half_pixel", scales, "round_prefer_floor")
        return b.add(op, x, name=layer.name)
    kernel = per_axis(layer.kernel, rank, "kernel")
    dilation = per_axis(layer.dilation, rank, "dilation")
    channels = x.shape[1] if layer.channels is None else layer.channels
    pads: tuple[tuple[int, int], ...]
    if layer.kind == "tconv":
        found = [
            (*layer.padding, 0)
            if isinstance(layer.padding, tuple)
            else transposed_pads(layer.padding, Window(k, s, d))
            for k, s, d in zip(kernel, stride, dilation, strict=True)
        ]
        pads = tuple((lo, hi) for lo, hi, _ in found)
        return b.conv_transpose(
            x,
            channels,
            kernel,
            stride=stride,
            dilation=dilation,
            padding=pads,
            output_padding=tuple(extra for _, _, extra in found),
            name=layer.name,
        )
    pads = tuple(
        _pads(layer.padding, k, s, d) for k, s, d in zip(kernel, stride, dilation, strict=True)
    )
    if layer.kind in ("max", "avg"):
        return b.pool(
            x,
            kernel,
            stride=stride,
            dilation=dilation,
            padding=pads,
            average=layer.kind == "avg",
            name=layer.name,
        )
    return b.conv(
        x,
        channels,
        kernel,
        stride=stride,
        dilation=dilation,
        padding=pads,
        groups=x.shape[1] if layer.kind == "dw" else 1,
        name=layer.name,
    )


def _pads(
    padding: Dialect | tuple[int, int], kernel: int, stride: int, dilation: int
) -> tuple[int, int]:
    if isinstance(padding, tuple):
        return padding
    return pad(padding, kernel, stride, dilation)


class _Reach:
    """How far a stack reads so far along each axis: no record is made of more than can be held."""

    def __init__(self, rank: int) -> None:
        self._size = [Fraction(1)] * rank
        self._stride = [Fraction(1)] * rank

    def check(self, layer: StackLayer) -> None:
        """Count `layer` in. Raises `ReadError` where the stack reads, or strides, too far."""
        rank = len(self._size)
        kernels = per_axis(layer.kernel, rank, "kernel")
        strides = per_axis(layer.stride, rank, "stride")
        dilations = per_axis(layer.dilation, rank, "dilation")
        windows = Window.of_axes(kernels, strides, dilations, (0,) * rank)
        for axis, window in enumerate(windows):
            if layer.kind in ("tconv", "up"):
                self._stride[axis] /= window.stride
                self._size[axis] += window.extent * self._stride[axis]
            else:
                self._size[axis] += (window.extent - 1) * self._stride[axis]
                self._stride[axis] *= window.stride
            reach = max(self._size[axis], self._stride[axis])
            if reach > _FARTHEST:
                raise ReadError(
                    f"up to here the stack reaches over more than {_FARTHEST:,} input positions; "
                    "use smaller kernels, strides or dilations."
                )
            if 1 / self._stride[axis] > _FINEST:
                raise ReadError(
                    f"up to here the stack upsamples by more than {_FINEST:,}; use smaller strides."
                )


class _Word:
    """The part of a stack's text that is one layer."""

    def __init__(self, text: str, start: int, end: int, place: int) -> None:
        self.text, self.start, self.end, self.place = text, start, end, place
        self.seen: dict[str, int] = {}

    def layer(self) -> StackLayer:
        """The record of this layer."""
        word = self.text[self.start : self.end]
        # `dw`, `same` and so on begin with letters that also stand for numbers: longest first.
        kind: Kind = next((k for k in _KINDS if word.startswith(k)), "conv")
        at = self.start + (len(kind) if word.startswith(kind) else 0)
        numbers: dict[str, tuple[int, ...]] = {}
        padding: StackPadding | tuple[int, int] = "same"
        while at < self.end:
            dialect = next((p for p in _PADDINGS if self.text.startswith(p, at)), None)
            if dialect is not None:
                self._once("padding", at)
                padding, at = dialect, at + len(dialect)
                continue
            letter = self.text[at]
            if letter not in _NUMBERS or self._is_word(at):
                self._unknown(at, kind)
            self._once(_NUMBERS[letter], at)
            values, after = self._values(_NUMBERS[letter], at + 1)
            if letter == "p":
                padding = self._lo_hi(values, at + 1)
            else:
                numbers[_NUMBERS[letter]] = values
            at = after
        self._check(kind)
        channels = numbers.get("channels")
        return StackLayer(
            kind=kind,
            kernel=numbers.get("kernel", (1,)),
            stride=numbers.get("stride", (1,)),
            dilation=numbers.get("dilation", (1,)),
            padding=padding,
            channels=None if channels is None else channels[0],
            name=f"{kind}{self.place}",
        )

    def _check(self, kind: Kind) -> None:
        if kind == "up":
            for name, at in self.seen.items():
                if name != "stride":
                    self.fail(at, f"`up` has no {name}; write its factor as a stride, `ups2`")
            if "stride" not in self.seen:
                self.fail(self.end - 1, "`up` needs its factor as a stride; write `ups2`")
            return
        if "kernel" not in self.seen:
            self.fail(self.start, f"`{kind}` needs a kernel; add one, such as `k3`")
        if kind in ("max", "avg") and "channels" in self.seen:
            at = self.seen["channels"]
            self.fail(at, f"`{kind}` keeps the channels of its input; leave `x` out")

    def _once(self, name: str, at: int) -> None:
        if name in self.seen:
            self.fail(at, f"the {name} is given twice; leave one out")
        self.seen[name] = at

    def _is_word(self, at: int) -> bool:
        letters = _LETTERS.match(self.text, at, self.end)
        return letters is not None and len(letters.group()) > 1

    def _unknown(self, at: int, kind: Kind) -> NoReturn:
        if self.text[at].isdigit() and kind == "up" and at == self.start + len(kind):
            self.fail(at, "`up` needs its factor as a stride; write `ups2`")
        if self.text[at].isdigit():
            self.fail(at, "a number needs its letter before it, such as `k3` for the kernel")
        letters = _LETTERS.match(self.text, at, self.end)
        got = letters.group() if letters else self.text[at]
        if at == self.start and len(got) > 1:
            got = got[:-1] if got[-1] in _NUMBERS else got
            self.fail(at, f"no kind is named {_short(got)!r}; use {', '.join(_KINDS)}")
        self.fail(at, f"{_short(got)!r} is not known; use k s d p x, same, valid or causal")

    def _values(self, name: str, at: int) -> tuple[tuple[int, ...], int]:
        found = _VALUES.match(self.text, at, self.end)
        if found is None:
            self.fail(min(at, self.end - 1), f"{name} needs a number here, such as 3 or (1,7)")
        if found.group(2):
            return (self._number(name, found.group(2), at),), found.end()
        values = []
        place = at + 1
        for part in found.group(1).split(","):
            digits = part.strip()
            begin = place + len(part) - len(part.lstrip())
            if _VALUE.fullmatch(digits) is None:
                self.fail(min(begin, found.end() - 1), f"{name} needs a number here, as in (1,7)")
            values.append(self._number(name, digits, begin))
            place += len(part) + 1
        if name == "channels" and len(values) > 1:
            self.fail(at, f"channels is one number, got {len(values)}")
        if len(values) > max(AXES):
            self.fail(at, f"{name} has {len(values)} values; there are at most 3 axes")
        return tuple(values), found.end()

    def _number(self, name: str, digits: str, at: int) -> int:
        # A number too long to matter is not even converted.
        value = int(digits) if len(digits) < 12 else (-1 if digits[0] == "-" else 1) * 10**12
        if name != "padding" and value < 1:
            shown = _short(digits.lstrip("+"))
            if name == "channels":
                self.fail(at, f"channels is {shown}: a layer needs at least 1")
            self.fail(at, f"{name} is {shown}: a window needs a whole {name} of at least 1")
        if abs(value) > _LARGEST:
            shown = _short(digits.lstrip("+"))
            self.fail(at, f"{name} is {shown}: at most {_LARGEST:,} is read")
        return value

    def _lo_hi(self, values: tuple[int, ...], at: int) -> tuple[int, int]:
        if len(values) > 2:
            self.fail(at, f"padding is (LO,HI) for every axis, got {len(values)} numbers")
        return values[0], values[-1]

    def fail(self, at: int, message: str) -> NoReturn:
        """Raise the error with a caret under position `at` of the text."""
        shown = self.text[self.start : self.end]
        raise ReadError(f"layer {self.place} `{_short(shown)}`: {message}.\n{self._caret(at)}")

    def _caret(self, at: int) -> str:
        first = max(at - _SHOWN // 2, 0) if len(self.text) > _SHOWN else 0
        # One column each, whatever the text holds: the caret must line up.
        line = "".join(c if c.isprintable() else " " for c in self.text[first : first + _SHOWN])
        dots = "..." if first else ""
        more = "..." if first + _SHOWN < len(self.text) else ""
        return f"  {dots}{line}{more}\n  {' ' * (len(dots) + at - first)}^"


def _written(values: tuple[int, ...]) -> str:
    return str(values[0]) if len(values) == 1 else f"({','.join(map(str, values))})"


def _short(text: str) -> str:
    return text if len(text) <= 24 else f"{text[:21]}..."


def _shown_shape(shape: Sequence[int]) -> str:
    return _short("x".join(map(str, tuple(shape)[:12]))) or "none"
