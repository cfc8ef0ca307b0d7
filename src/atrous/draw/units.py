"""Numbers as a reader wants them: three significant digits and a unit, strides as fractions."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

__all__ = [
    "at_least",
    "bytes_text",
    "fraction_text",
    "ms_text",
    "per_axis",
    "quantity",
    "shape_text",
    "share_text",
    "shortened",
]

_THOUSANDS = ("", "k", "M", "G", "T", "P", "E")
_BYTES = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")


def quantity(count: int, unit: str = "") -> str:
    """A count with a decimal prefix.

    >>> quantity(432), quantity(25_557_032), quantity(4_089_184_256, "MAC"), quantity(999_999)
    ('432', '25.6 M', '4.09 GMAC', '1.00 M')
    """
    number, prefix = _scaled(count, 1000, _THOUSANDS)
    return f"{number} {prefix}{unit}".rstrip()


def bytes_text(count: int, *, decimal: bool = False) -> str:
    """A number of bytes with a binary prefix, or a `decimal` one.

    >>> bytes_text(432), bytes_text(1024), bytes_text(65_536), bytes_text(3 * 2**20 + 2**19)
    ('432 B', '1.00 KiB', '64.0 KiB', '3.50 MiB')
    >>> bytes_text(65_536, decimal=True)
    '65.5 kB'
    """
    if decimal:
        return quantity(count, "B")
    number, unit = _scaled(count, 1024, _BYTES)
    return f"{number} {unit}"


def at_least(text: str, left_out: object, *, short: bool = False) -> str:
    """A total that leaves something out is a lower bound, and says so.

    >>> at_least("4.09 GMAC", ("ConvInteger_1",)), at_least("4.09 G", True, short=True)
    ('at least 4.09 GMAC', '>=4.09 G')
    >>> at_least("4.09 GMAC", ())
    '4.09 GMAC'
    """
    if not left_out:
        return text
    return f">={text}" if short else f"at least {text}"


def share_text(share: float) -> str:
    """A share in percent, which says 100% or 0% only where that is exact.

    >>> share_text(1.0), share_text(0.8181), share_text(0.9999), share_text(0.0001)
    ('100%', '82%', '>99%', '<1%')
    """
    if 0.995 <= share < 1:
        return ">99%"
    if 0 < share < 0.005:
        return "<1%"
    return f"{share:.0%}"


def fraction_text(value: Fraction) -> str:
    """A fraction: decimals where a few of them are exact, else a quotient.

    >>> fraction_text(Fraction(32)), fraction_text(Fraction(1, 2)), fraction_text(Fraction(1, 3))
    ('32', '0.5', '1/3')
    """
    if 8 % value.denominator == 0:
        return f"{float(value):.3f}".rstrip("0").rstrip(".")
    return str(value)


def shape_text(shape: Sequence[int], *, known: bool = True) -> str:
    """A shape, its sizes joined by x.

    >>> shape_text((1, 3, 224, 224)), shape_text(()), shape_text((), known=False)
    ('1x3x224x224', 'scalar', 'of unknown shape')
    """
    if not known:
        return "of unknown shape"
    return "x".join(map(str, shape)) or "scalar"


def ms_text(milliseconds: float) -> str:
    """Milliseconds to three digits.

    >>> ms_text(0.01234), ms_text(1.5), ms_text(85.17), ms_text(1234.5)
    ('0.012 ms', '1.50 ms', '85.2 ms', '1234 ms')
    """
    if milliseconds < 0.9995:
        return f"{milliseconds:.3f} ms"
    digits = 2 if milliseconds < 9.995 else 1 if milliseconds < 99.95 else 0
    return f"{milliseconds:.{digits}f} ms"


def per_axis(values: Sequence[str]) -> str:
    """One value where all axes agree, else all of them joined by x.

    >>> per_axis(["427", "427"]), per_axis(["15", "9"])
    ('427', '15x9')
    """
    if all(value == values[0] for value in values[1:]):
        return values[0] if values else ""
    return "x".join(values)


def shortened(text: str, width: int, mark: str = "…") -> str:
    """The text in at most `width` characters, its middle left out: names end in what matters.

    >>> shortened("backbone.layer4.2.conv2", 16), shortened("conv1", 16)
    ('bac…yer4.2.conv2', 'conv1')
    """
    if len(text) <= width:
        return text
    if width <= len(mark):
        return text[-width:] if width > 0 else ""
    head = (width - len(mark)) // 4
    tail = width - len(mark) - head
    # The rest of a module's name says less than the letters before it.
    rest = max(text.find(".", len(text) - tail, len(text) - tail + 4) - (len(text) - tail), 0)
    return text[: head + rest] + mark + text[len(text) - tail + rest :]


def _scaled(count: int, base: int, units: Sequence[str]) -> tuple[str, str]:
    if abs(count) < base:
        return str(count), units[0]
    value, place = float(count), 0
    # Rounded first: 999,999 is a million to three digits.
    while round(value) >= base and place + 1 < len(units):
        value, place = value / base, place + 1
    if value < 9.995:
        return f"{value:.2f}", units[place]
    return (f"{value:.1f}" if value < 99.95 else f"{value:.0f}"), units[place]
