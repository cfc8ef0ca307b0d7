"""Numbers as the messages of findings say them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fractions import Fraction

from atrous.analysis.scale import Scale, in_units

__all__ = ["cells", "lengths", "positions", "units"]


def cells(value: Fraction) -> str:
    """A length in cells of a map.

    >>> cells(Fraction(1, 2)), cells(Fraction(1)), cells(Fraction(5, 4))
    ('half a cell', '1 cell', '1.25 cells')
    """
    if value == Fraction(1, 2):
        return "half a cell"
    return "1 cell" if value == 1 else f"{_short(value)} cells"


def positions(value: Fraction) -> str:
    """A length in positions of the input.

    >>> positions(Fraction(1)), positions(Fraction(8))
    ('1 input position', '8 input positions')
    """
    return "1 input position" if value == 1 else f"{_short(value)} input positions"


def lengths(values: Mapping[str, Fraction | int], scales: Mapping[str, Scale]) -> str:
    """A length in positions of the input, along one axis or several, in units where they have one.

    >>> from atrous.analysis.scale import scales_of
    >>> lengths({"t": 8}, {}), lengths({"t": 8}, scales_of(("t",), "16k"))
    ('8 input positions', '0.5 ms (8 input positions)')
    >>> lengths({"h": 2, "w": 2}, scales_of(("h", "w"), pixel="1um,2um"))
    '2 um along h and 4 um along w (2 input positions)'
    """
    counts = dict.fromkeys(map(Fraction, values.values()))
    if len(counts) > 1:
        return _joined(f"{lengths({a: n}, scales)} along {a}" for a, n in values.items())
    text = positions(next(iter(counts)))
    said = units(values, scales)
    return f"{said} ({text})" if said else text


def units(values: Mapping[str, Fraction | int], scales: Mapping[str, Scale]) -> str:
    """Lengths in positions of the input in units, once where all axes agree; empty without one."""
    texts = {a: said for a, n in values.items() if (said := in_units({a: n}, scales))}
    if len(texts) == len(values) and len(set(texts.values())) == 1:
        return next(iter(texts.values()))
    return _joined(f"{said} along {axis}" for axis, said in texts.items())


def _joined(parts: Iterable[str]) -> str:
    return " and ".join(parts)


def _short(value: Fraction) -> str:
    return str(value.numerator) if value.denominator == 1 else f"{float(value):.3g}"
