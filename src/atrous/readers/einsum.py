"""Einsum's notation, as every framework has it: one letter for each dimension of an operand."""

from __future__ import annotations

import re
import string
from collections.abc import Sequence

from atrous.errors import ReadError

__all__ = ["sizes_of", "terms_of"]


def terms_of(
    equation: str, ranks: Sequence[int], spare: str = string.ascii_letters
) -> tuple[list[str], str]:
    """The letters of each operand and of the result, with an ellipsis spelled out.

    Dimensions under an ellipsis line up at their end: the last is the first of the `spare` letters
    that the equation does not use. Where the equation gives no result, that is what stands under an
    ellipsis and then every letter that is there once. Raises `ReadError` for an equation that does
    not fit operands of these ranks.

    >>> terms_of("...ij,jk", (4, 2))
    (['baij', 'jk'], 'baik')
    """
    operands, arrow, result = equation.partition("->")
    terms = operands.split(",")
    if len(terms) != len(ranks) or not re.fullmatch(r"[A-Za-z.,]*", operands + result):
        raise ReadError(f"{equation[:80]!r} is no equation for {len(ranks)} operands.")
    free = [letter for letter in spare if letter not in equation]
    widths = [rank - len(t.replace("...", "")) for t, rank in zip(terms, ranks, strict=True)]
    for term, rank, width in zip(terms, ranks, widths, strict=True):
        if width < 0 or ("..." not in term and width) or width > len(free):
            raise ReadError(f"{equation[:80]!r} does not fit an operand of {rank} dimensions.")
    if not arrow:
        letters = operands.replace(",", "").replace(".", "")
        once = sorted(letter for letter in letters if letters.count(letter) == 1)
        result = "..." * ("..." in operands) + "".join(once)
    dots = ["".join(reversed(free[:width])) for width in (*widths, max(widths))]
    spelled = [text.replace("...", part) for text, part in zip((*terms, result), dots, strict=True)]
    return spelled[:-1], spelled[-1]


def sizes_of(terms: Sequence[str], shapes: Sequence[Sequence[int]]) -> dict[str, int] | None:
    """The size of each letter; None where operands disagree about one.

    >>> sizes_of(("ij", "jk"), ((2, 3), (3, 4))), sizes_of(("ij", "jk"), ((2, 3), (1, 4)))
    ({'i': 2, 'j': 3, 'k': 4}, None)
    """
    sizes: dict[str, int] = {}
    for term, shape in zip(terms, shapes, strict=True):
        for letter, size in zip(term, shape, strict=True):
            if sizes.setdefault(letter, size) != size:
                return None
    return sizes
