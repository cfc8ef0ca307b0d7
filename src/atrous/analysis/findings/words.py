"""Numbers as the messages of findings say them."""

from __future__ import annotations

from fractions import Fraction

__all__ = ["cells", "positions"]


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


def _short(value: Fraction) -> str:
    return str(value.numerator) if value.denominator == 1 else f"{float(value):.3g}"
