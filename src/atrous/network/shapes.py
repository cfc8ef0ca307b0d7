"""Shapes of the inputs of a network, as plain data."""

from __future__ import annotations

__all__ = ["Shape", "Shapes", "rounded"]


Shape = tuple[int, ...]
Shapes = tuple[Shape, ...]


def rounded(shape: Shape, step: int, *, up: bool = True) -> Shape | None:
    """A shape with its sizes rounded to multiples of a step, batch and channels left as they are.

    None where a size would vanish, or where there is none.

    >>> rounded((1, 3, 30, 44), 8), rounded((1, 3, 30, 44), 64, up=False)
    ((1, 3, 32, 48), None)
    """
    sizes = [(-(-n // step) if up else n // step) * step for n in shape[2:]]
    return (*shape[:2], *sizes) if sizes and min(sizes) > 0 else None
