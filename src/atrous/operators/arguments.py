"""What `conv` and `conv_transpose` are given, checked once: same rules and words for any array."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import lru_cache
from math import prod
from operator import index
from typing import Any, Literal, get_args

from atrous.errors import ArgumentError, ArgumentTypeError, GeometryError
from atrous.geometry import Dialect, Window, pad, transposed_pads
from atrous.operators.convolution import Convolution

__all__ = [
    "ELEMENTS",
    "Padding",
    "PerAxis",
    "Sums",
    "checked_sums",
    "convolution",
    "element",
    "is_tensor",
    "known_convolution",
    "library_of",
]

PerAxis = int | Sequence[int]
"""One number for all axes, or one for each."""

Padding = PerAxis | Sequence[tuple[int, int]] | Dialect
"""Numbers, pairs `(lo, hi)`, or the name of a rule."""

Sums = Literal["direct", "winograd"]
"""Products as the definition has them, or fewer."""

ELEMENTS = {"float16": 2, "bfloat16": 2, "float32": 4, "float64": 8}
"""The elements that are convolved, and their bytes."""

# Virtual addresses have 47 bits on the machines that Python runs on.
_MOST_BYTES = 2**47
# Kernels count positions in 64 bits: a product of a number this large and a size still fits.
_MOST = 2**40
_DIALECTS: tuple[Dialect, ...] = get_args(Dialect)


def checked_sums(rounding: Any) -> Sums:
    """`rounding` as given; `ArgumentError` for what is no way to sum."""
    if rounding not in get_args(Sums):
        raise ArgumentError(
            f"rounding is {rounding!r}; give 'direct', or 'winograd' for fewer products."
        )
    return rounding  # type: ignore[no-any-return]


def is_tensor(array: object) -> bool:
    """Whether `array` is a torch tensor; torch is not imported to find out."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(array, torch.Tensor)


def element(array: Any) -> str:
    """The name of what an array or a tensor holds, such as `float32`."""
    if is_tensor(array):
        return str(array.dtype).removeprefix("torch.")
    return str(array.dtype.name)


def library_of(x: object, weight: object, bias: object) -> Literal["numpy", "torch"]:
    """Whose arrays these are, all of one library, device and kind of element.

    Raises `ArgumentTypeError` for other things, for elements that are no floating point numbers
    of 16 to 64 bits, and for elements that differ; `ArgumentError` for devices that differ.
    """
    if _alike(x, weight, bias):
        return "torch"
    given = {"x": x, "weight": weight} | ({} if bias is None else {"bias": bias})
    kinds = {name: _kind(name, array) for name, array in given.items()}
    for name, array in given.items():
        if kinds[name] != kinds["x"]:
            raise ArgumentTypeError(
                f"{name} is a {_THINGS[kinds[name]]} and x a {_THINGS[kinds['x']]}: a convolution "
                "takes arrays of one library; convert one of them."
            )
        held, wanted = element(array), element(x)
        if held not in ELEMENTS:
            raise ArgumentTypeError(
                f"{name} holds {held}: a convolution takes {', '.join(ELEMENTS)}; convert {name} "
                "to float32."
            )
        if held != wanted:
            raise ArgumentTypeError(
                f"{name} holds {held} and x {wanted}: both need the same; convert one of them."
            )
        device, other = getattr(array, "device", None), getattr(x, "device", None)
        if kinds["x"] == "torch" and device != other:
            raise ArgumentError(
                f"{name} is on {device} and x on {other}: both need one device; move one of them."
            )
    return kinds["x"]


def _alike(x: Any, weight: Any, bias: Any) -> bool:
    """Whether these are plain tensors of one kind: the usual case, told in the least time."""
    torch = sys.modules.get("torch")
    if torch is None or not isinstance(x, torch.Tensor) or not isinstance(weight, torch.Tensor):
        return False
    kind, device, strided = x.dtype, x.device, torch.strided
    if kind != weight.dtype or device != weight.device or not kind.is_floating_point:
        return False
    if bias is not None:
        if not isinstance(bias, torch.Tensor) or bias.dtype != kind or bias.device != device:
            return False
        if bias.layout != strided:
            return False
    return bool(kind.itemsize > 1 and x.layout == strided and weight.layout == strided)


_THINGS = {"numpy": "NumPy array", "torch": "torch tensor"}


def _kind(name: str, array: Any) -> Literal["numpy", "torch"]:
    if is_tensor(array):
        if str(array.layout) == "torch.strided":
            return "torch"
        raise ArgumentTypeError(
            f"{name} is a tensor of layout {array.layout}: a convolution takes dense ones; use "
            f"{name}.to_dense()."
        )
    numpy = sys.modules.get("numpy")
    if numpy is not None and isinstance(array, numpy.ndarray):
        if not isinstance(array, numpy.ma.MaskedArray):
            return "numpy"
        raise ArgumentTypeError(
            f"{name} is a masked array: a convolution would read what is masked; fill it with "
            f"{name}.filled(0)."
        )
    raise ArgumentTypeError(
        f"{name} is {_shown(array)}, a {type(array).__name__}: a convolution takes NumPy arrays or "
        f"torch tensors; wrap it with numpy.asarray({name})."
    )


def convolution(
    x: Sequence[int],
    weight: Sequence[int],
    bias: Sequence[int] | None = None,
    *,
    stride: PerAxis = 1,
    dilation: PerAxis = 1,
    padding: Padding = 0,
    groups: int = 1,
    transposed: bool = False,
    output_padding: PerAxis = 0,
    bytes_each: int = 4,
) -> Convolution:
    """The record of a convolution of arrays with these shapes.

    Raises `ArgumentError` for shapes that do not fit one another, for `groups` that do not divide
    the channels, and for a result that no memory holds; `GeometryError` for windows that cannot be
    or that do not fit.

    >>> one = convolution((1, 8, 20, 20), (16, 4, 3, 3), stride=2, padding="same", groups=2)
    >>> one.padding, one.outputs
    (((1, 1), (1, 1)), (10, 10))
    """
    x, weight = tuple(x), tuple(weight)
    rank = len(weight) - 2
    if not 1 <= rank <= 3:
        raise ArgumentError(
            f"weight has shape {weight}: it needs two axes of channels and then 1 to 3 of taps."
        )
    if len(x) != len(weight):
        fix = "; add the batch's axis with x[None]." if len(x) == len(weight) - 1 else "."
        raise ArgumentError(
            f"x has shape {x}: for weight of shape {weight} it needs a batch, channels and "
            f"{_count(rank, 'size')}{fix}"
        )
    groups = _checked_number("groups", groups, groups, 1)
    inward, outward = _channels(x, weight, groups, transposed)
    if bias is not None and tuple(bias) != (outward,):
        raise ArgumentError(
            f"bias has shape {tuple(bias)}: the result has {_count(outward, 'channel')}; give it "
            f"shape ({outward},)."
        )
    for axis, taps in enumerate(weight[2:]):
        if taps < 1:
            raise GeometryError(
                f"weight has shape {weight}: kernel is {taps} along spatial axis {axis}, and a "
                "window needs at least 1 tap."
            )
    strides = _checked_per_axis("stride", stride, rank, 1)
    rates = _checked_per_axis("dilation", dilation, rank, 1)
    windows = _checked_windows(x[2:], weight[2:], strides, rates, padding, transposed)
    more = _checked_per_axis("output_padding", output_padding, rank, 0)
    if transposed and isinstance(padding, str):
        missing = (transposed_pads(padding, window)[2] for window in windows)
        more = tuple(given + added for given, added in zip(more, missing, strict=True))
    for axis, (extra, window) in enumerate(zip(more, windows, strict=True)):
        if extra and extra >= max(window.stride, window.dilation):
            raise GeometryError(
                f"output_padding is {_shown(output_padding)}: along spatial axis {axis} it must "
                f"be below the stride {window.stride} or the dilation {window.dilation}; lower it."
            )
    made = Convolution(
        batch=x[0],
        in_channels=inward,
        out_channels=outward,
        sizes=x[2:],
        windows=windows,
        groups=groups,
        transposed=transposed,
        output_padding=more,
    )
    _assert_fits(made, bytes_each)
    return made


def _made(
    x: Sequence[int],
    weight: Sequence[int],
    bias: Sequence[int] | None,
    stride: PerAxis,
    dilation: PerAxis,
    padding: Padding,
    groups: int,
    bytes_each: int,
) -> Convolution:
    """`convolution` with its arguments by place, which are found again sooner."""
    return convolution(
        x,
        weight,
        bias,
        stride=stride,
        dilation=dilation,
        padding=padding,
        groups=groups,
        bytes_each=bytes_each,
    )


_known = lru_cache(maxsize=1024)(_made)


def known_convolution(
    x: Sequence[int],
    weight: Sequence[int],
    bias: Sequence[int] | None,
    stride: PerAxis,
    dilation: PerAxis,
    padding: Padding,
    groups: int,
    bytes_each: int,
) -> Convolution:
    """`convolution`, remembered: layers are run again and again."""
    torch = sys.modules.get("torch")
    # A truth value equals 1 as a key, and what is traced has sizes that are no numbers.
    plain = _is_plain(stride) and _is_plain(dilation) and _is_plain(padding) and _is_plain(groups)
    for size in (*x, *weight):
        plain = plain and type(size) is int
    shape = None if bias is None else tuple(bias)
    if not plain or (torch is not None and torch.compiler.is_compiling()):
        return _made(x, weight, shape, stride, dilation, padding, groups, bytes_each)
    return _known(tuple(x), tuple(weight), shape, stride, dilation, padding, groups, bytes_each)


def _is_plain(option: object) -> bool:
    if type(option) is tuple:
        return all(map(_is_plain, option))
    return type(option) is int or type(option) is str


def _assert_fits(made: Convolution, bytes_each: int) -> None:
    """Raises where the result would be empty, or larger than any memory."""
    axes = zip(made.windows, made.sizes, made.output_padding, strict=True)
    for axis, (window, size, more) in enumerate(axes):
        try:
            if made.transposed:
                window.transposed_length(size, more)
            else:
                window.output_length(size)
        except GeometryError as error:
            raise GeometryError(f"along spatial axis {axis} of x, {error}") from None
    elements = prod(made.shape)
    # While a model is traced, sizes may be symbols, which no bound should narrow.
    if type(elements) is int and elements * bytes_each > _MOST_BYTES:
        raise ArgumentError(
            f"the result would have shape {made.shape}: that is more than {_MOST_BYTES} bytes, all "
            "that a process can address; lower padding or split the batch."
        )


def _channels(
    x: tuple[int, ...], weight: tuple[int, ...], groups: int, transposed: bool
) -> tuple[int, int]:
    """The channels of `x` and of the result."""
    inward = x[1]
    if inward % groups:
        raise ArgumentError(
            f"groups is {groups}: it must divide the {_count(inward, 'channel')} of x; use a "
            f"divisor of {inward}."
        )
    if weight[1 if transposed else 0] < 1:
        raise ArgumentError(f"weight has shape {weight}: the result would have no channels.")
    if transposed:
        if weight[0] != inward:
            raise ArgumentError(
                f"weight has shape {weight}: of a transposed convolution it begins with the "
                f"channels of x, which has {inward}; give it shape {(inward, *weight[1:])}."
            )
        return inward, weight[1] * groups
    if weight[1] * groups != inward:
        fix = f"give it shape {(weight[0], inward // groups, *weight[2:])}"
        if weight[1] and inward % weight[1] == 0 and weight[0] % (inward // weight[1]) == 0:
            fix += f" or pass groups={inward // weight[1]}"
        raise ArgumentError(
            f"weight has shape {weight}: in {_count(groups, 'group')} it reads "
            f"{_count(weight[1] * groups, 'channel')}, and x has {inward}; {fix}."
        )
    if weight[0] % groups:
        raise ArgumentError(
            f"groups is {groups}: it must divide the {_count(weight[0], 'channel')} of the result, "
            f"weight having shape {weight}; use a divisor of {weight[0]}."
        )
    return inward, weight[0]


def _checked_windows(
    sizes: tuple[int, ...],
    kernel: tuple[int, ...],
    strides: tuple[int, ...],
    rates: tuple[int, ...],
    padding: Padding,
    transposed: bool,
) -> tuple[Window, ...]:
    if isinstance(padding, str):
        if padding not in _DIALECTS:
            known = ", ".join(f'"{rule}"' for rule in _DIALECTS)
            raise GeometryError(
                f"padding is {_shown(padding)}: the rules known here are {known}; use one of them, "
                "a number, or a pair (lo, hi) for each axis."
            )
        axes = zip(kernel, strides, rates, sizes, strict=True)
        if transposed:
            pads = [transposed_pads(padding, Window(k, s, d))[:2] for k, s, d, _ in axes]
            return Window.of_axes(kernel, strides, rates, pads)
        # At stride 1 no rule asks for the size, which is a symbol while a model is traced.
        pads = [pad(padding, k, s, d, int(n) if s > 1 else None) for k, s, d, n in axes]
    else:
        pads = _checked_pads(padding, len(kernel))
    return Window.of_axes(kernel, strides, rates, pads)


def _checked_pads(padding: Any, rank: int) -> list[tuple[int, int]]:
    if not isinstance(padding, (tuple, list)):
        both = _checked_number("padding", padding, padding, None)
        return [(both, both)] * rank
    if len(padding) != rank:
        raise GeometryError(
            f"padding is {_shown(padding)}, of {_count(len(padding), 'entry')}: there must be one "
            f"for each of {_count(rank, 'spatial axis')}, a number or a pair (lo, hi)."
        )
    pads = []
    for entry in padding:
        pair = entry if isinstance(entry, (tuple, list)) else (entry, entry)
        if len(pair) != 2:
            raise GeometryError(
                f"padding is {_shown(padding)}: an entry is a number or a pair (lo, hi), got "
                f"{_shown(entry)}."
            )
        lo, hi = (_checked_number("padding", one, padding, None) for one in pair)
        pads.append((lo, hi))
    return pads


def _checked_per_axis(name: str, value: Any, rank: int, least: int) -> tuple[int, ...]:
    if not isinstance(value, (tuple, list)):
        return (_checked_number(name, value, value, least),) * rank
    if len(value) != rank:
        raise GeometryError(
            f"{name} is {_shown(value)}, of {_count(len(value), 'entry')}: there must be one for "
            f"each of {_count(rank, 'spatial axis')}, or one number for all."
        )
    return tuple(_checked_number(name, one, value, least) for one in value)


def _checked_number(name: str, value: Any, shown: Any, least: int | None) -> int:
    """`value` as a whole number from `least` on; truth values are none."""
    try:
        if isinstance(value, bool):
            raise TypeError
        found = index(value)
    except (TypeError, ValueError, RuntimeError):
        found = None
    if found is not None and (least is None or found >= least) and abs(found) <= _MOST:
        return found
    rule = "a whole number" if least is None else f"a whole number of at least {least}"
    if found is not None and abs(found) > _MOST:
        rule += " and at most 2**40"
    raise GeometryError(f"{name} is {_shown(shown)}: it must be {rule}; pass {name}={least or 0}.")


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _count(number: int, thing: str) -> str:
    if number == 1:
        return f"1 {thing}"
    plural = {"entry": "entries", "spatial axis": "spatial axes"}.get(thing, f"{thing}s")
    return f"{number} {plural}"
