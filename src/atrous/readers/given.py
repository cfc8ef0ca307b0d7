"""Input shapes as users give them: tuples, lists, arrays, numpy integers."""

from __future__ import annotations

from operator import index
from typing import Any

from atrous.errors import ReadError

__all__ = ["as_shape", "examples_of", "is_shape", "output_names", "shapes_of"]


_LARGEST = (1 << 63) - 1


def is_shape(value: Any) -> bool:
    """True for a sequence of numbers, right or wrong; False for anything that holds sequences.

    >>> is_shape((1, 3, 8, 8)), is_shape([(1, 3), (1, 2)])
    (True, False)
    """
    return isinstance(value, list | tuple) and all(
        (not isinstance(size, str | list | tuple | dict) and not hasattr(size, "shape"))
        or getattr(size, "shape", None) == ()
        for size in value
    )


def as_shape(value: Any, subject: str = "input") -> tuple[int, ...]:
    """A shape as plain integers; of an array, its shape. Raises `ReadError` for anything else.

    >>> as_shape([1, 3, 32, 32])
    (1, 3, 32, 32)
    """
    given = getattr(value, "shape", value)
    try:
        if isinstance(given, str | bytes | dict):
            raise TypeError
        shape = tuple(index(size) for size in given)
    except TypeError:
        raise ReadError(
            f"{subject}: {str(value)[:60]!r} is no shape: give batch, channels and sizes as whole "
            "numbers, such as (1, 3, 512, 512)."
        ) from None
    if not shape or min(shape) < 1:
        raise ReadError(
            f"{subject}: input shape {shape} needs whole numbers of at least 1, with batch and "
            "channels, such as (1, 3, 224, 224)."
        )
    if max(shape) > _LARGEST:
        raise ReadError(
            f"{subject}: input shape {shape} has a size above {_LARGEST:,}, which no library "
            "takes; give the sizes that it is to have."
        )
    return shape


def shapes_of(input: Any) -> tuple[tuple[int, ...], ...]:
    """The shapes of all inputs, from that of one, from several, or from example tensors.

    >>> shapes_of((1, 3, 32, 32)), shapes_of([(1, 3), (1, 2)])
    (((1, 3, 32, 32),), ((1, 3), (1, 2)))
    """
    if is_shape(input) or not isinstance(input, list | tuple):
        return (as_shape(input),)
    return tuple(as_shape(shape) for shape in input)


def examples_of(input: Any) -> tuple[Any, ...]:
    """For each input, the example tensor that was given; None where it was a shape.

    >>> examples_of((1, 3, 32, 32)), examples_of([(1, 3), (1, 2)])
    ((None,), (None, None))
    """
    one = is_shape(input) or not isinstance(input, list | tuple)
    values = (input,) if one else input
    return tuple(value if hasattr(value, "dtype") else None for value in values)


def output_names(outputs: Any) -> tuple[str, ...] | None:
    """The names that `outputs` gives; None for all. Raises `ReadError` for what is no name."""
    if outputs is None:
        return None
    names = (outputs,) if isinstance(outputs, str) else outputs
    if (
        not isinstance(names, list | tuple)
        or not names
        or not all(isinstance(name, str) and name for name in names)
    ):
        raise ReadError(f"outputs is {outputs!r}: give names of outputs or layers, or none.")
    return tuple(names)
