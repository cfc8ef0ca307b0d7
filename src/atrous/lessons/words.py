"""Small words that several topics use: lists, ordinals, plurals."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["count_of", "joined", "nth"]


def joined(values: Iterable[object]) -> str:
    """Values in a row, the last behind `and`.

    >>> joined([1, 2, 3]), joined([4])
    ('1, 2 and 3', '4')
    """
    texts = [str(value) for value in values]
    return f"{', '.join(texts[:-1])} and {texts[-1]}" if len(texts) > 1 else "".join(texts)


def nth(n: int) -> str:
    """An ordinal.

    >>> nth(1), nth(2), nth(3), nth(4), nth(11), nth(22)
    ('1st', '2nd', '3rd', '4th', '11th', '22nd')
    """
    end = "th" if 10 <= n % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(n % 10, "th")
    return f"{n}{end}"


def count_of(n: int, what: str) -> str:
    """A number of things.

    >>> count_of(1, "position"), count_of(3, "position")
    ('1 position', '3 positions')
    """
    return f"{n} {what}" if n == 1 else f"{n} {what}s"
