"""What is made of one tile of an output before it is kept: a class of scores, a mask."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import CodeType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from atrous.errors import ArgumentError, AtrousError, RunError
from atrous.network.shapes import Shape
from atrous.plan.tiles import Map, Tile

__all__ = [
    "Reduce",
    "check_part",
    "identity_of",
    "parts_of",
    "reduced_shape",
    "reduced_target",
    "reducer_of",
]

Reduce = Callable[[NDArray[Any]], NDArray[Any]]
"""A function of one tile of an output, position by position, as an argmax over classes."""


@dataclass(frozen=True)
class Argmax:
    """The class of the highest score at each position."""

    def __call__(self, tile: NDArray[Any]) -> NDArray[Any]:
        if tile.ndim < 2:
            raise ArgumentError("argmax is over the channels, and this output has none.")
        kind = np.uint8 if tile.shape[1] <= 256 else np.uint16
        best: NDArray[Any] = tile.argmax(1).astype(kind)
        return best


@dataclass(frozen=True)
class Threshold:
    """1 where a number is above `limit`, else 0."""

    limit: float

    def __call__(self, tile: NDArray[Any]) -> NDArray[Any]:
        above: NDArray[Any] = (tile > self.limit).astype(np.uint8)
        return above


def reducer_of(reduce: Reduce | str | None) -> Reduce | None:
    """The function that `reduce` names: `"argmax"`, `"threshold:0.5"`, or is."""
    if reduce is None or callable(reduce):
        return reduce
    if reduce == "argmax":
        return Argmax()
    name, _, limit = str(reduce).partition(":")
    if name == "threshold":
        try:
            return Threshold(float(limit))
        except ValueError:
            pass
    raise ArgumentError(
        f"reduce is {reduce!r}; give 'argmax', 'threshold:0.5' or a function of one tile."
    )


def parts_of(
    tile: Tile, made: Sequence[NDArray[Any]], reducer: Reduce | None
) -> list[NDArray[Any]]:
    """What is kept of a tile's outputs, reduced where there is a reducer."""
    kept = [one[keep.local] for keep, one in zip(tile.keep, made, strict=True)]
    if reducer is None:
        return kept
    try:
        return [np.asarray(reducer(one)) for one in kept]
    except AtrousError:
        raise
    except Exception as error:
        text = f"{type(error).__name__}: {error}"
        raise RunError(f"reduce raised {text} on a tile.") from error


def check_part(
    name: str, part: NDArray[Any], place: Sequence[slice], whole: Sequence[int]
) -> tuple[slice, ...]:
    """Where a tile's part goes. Raises `ArgumentError` where it is not as large as its place."""
    found = tuple(slice(*one.indices(n)[:2]) for one, n in zip(place, whole, strict=True))
    wanted = tuple(one.stop - one.start for one in found)
    if part.shape != wanted:
        raise ArgumentError(
            f"reduce makes {part.shape} of a tile of {name} where another tile's result, or its "
            f"positions, say {wanted}; it is to keep every position."
        )
    return found


def reduced_target(
    target: tuple[slice, ...], axes: Sequence[str | None], rank: int
) -> tuple[slice, ...]:
    """Where a reduced tile goes: positions stay, of what else there was a dimension may be gone."""
    if rank == len(target):
        return (
            *(
                slice(None) if axis is None and i else s
                for i, (s, axis) in enumerate(zip(target, axes, strict=True))
            ),
        )
    return tuple(s for i, s in enumerate(target) if i not in _dropped(axes, rank))


def reduced_shape(output: Map, part: Sequence[int]) -> tuple[Shape, tuple[str | None, ...]]:
    """The whole output and its axes where a tile of it, once reduced, has the shape `part`.

    >>> reduced_shape(Map("y", (1, 21, 90, 80), (None, None, "h", "w")), (1, 16, 16))
    ((1, 90, 80), (None, 'h', 'w'))
    """
    dropped = _dropped(output.axes, len(part))
    kept = [i for i in range(len(output.shape)) if i not in dropped]
    shape = tuple(
        output.shape[i] if output.axes[i] is not None or not i else int(held)
        for i, held in zip(kept, part, strict=True)
    )
    return shape, tuple(output.axes[i] for i in kept)


def _dropped(axes: Sequence[str | None], rank: int) -> set[int]:
    gone = len(axes) - rank
    places = [i for i, axis in enumerate(axes) if axis is None]
    drop = set(places[1 : 1 + max(gone, 0)])
    if len(drop) != gone:
        raise ArgumentError(
            f"reduce leaves {rank} of {len(axes)} dimensions; keep the batch and all positions."
        )
    return drop


def identity_of(function: Any) -> str | None:
    """What tells a function from another: its name, and a hash of its code and of what it holds.

    What its module has beside it is not looked at.
    """
    return None if function is None else _identity(function, ())


def _identity(function: Any, within: tuple[int, ...]) -> str:
    kind = type(function)
    if hasattr(kind, "__dataclass_fields__"):
        return repr(function)
    module = getattr(function, "__module__", "")
    name = f"{module}:{getattr(function, '__qualname__', kind.__name__)}"
    if id(function) in within:
        return name
    within = (*within, id(function))
    code = getattr(function, "__code__", None)
    if not isinstance(code, CodeType):
        # A partial function, or an object that is called.
        held = [getattr(function, part, None) for part in ("func", "args", "keywords")]
        held += sorted(getattr(function, "__dict__", {}).items())
        return f"{name} {_short(_held_text(held, within))}"
    cells = [cell.cell_contents for cell in function.__closure__ or ()]
    held = [cells, function.__defaults__, function.__kwdefaults__]
    return f"{name} {_short(_code_text(code) + _held_text(held, within))}"


def _code_text(code: CodeType) -> str:
    constants = [_code_text(c) if isinstance(c, CodeType) else repr(c) for c in code.co_consts]
    return f"{code.co_code.hex()} {code.co_names} {constants}"


def _held_text(value: Any, within: tuple[int, ...]) -> str:
    """A value without its address in memory."""
    if isinstance(value, list | tuple):
        return f"[{', '.join(_held_text(one, within) for one in value)}]"
    if isinstance(value, dict):
        return _held_text(list(value.items()), within)
    if hasattr(value, "tobytes"):
        return hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()
    return _identity(value, within) if callable(value) else repr(value)


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
