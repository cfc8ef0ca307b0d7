"""Images as a model takes them: which dimension is which, and values prepared tile by tile."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from atrous.errors import ArgumentError, AtrousError, RunError
from atrous.network.shapes import Shape

__all__ = ["Image", "Prepare", "Scaling", "as_image", "kinds_said", "like_image"]

Prepare = Callable[[Any], Any]
"""A function of one tile of an image, position by position: it keeps the shape."""

_BATCH, _CHANNEL, _SPATIAL = "NB", "CS", "TZYX"


@dataclass(frozen=True, repr=False)
class Scaling:
    """Numbers as a model was trained on them: `(x * scale - mean) / std`, in float32.

    `mean` and `std` have one number for each channel, or one for all.

    >>> import numpy as np
    >>> Scaling(1 / 255, (0.5,), (0.25,))(np.full((1, 1, 1, 2), 255, np.uint8)).tolist()
    [[[[2.0, 2.0]]]]
    """

    scale: float = 1.0
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)

    def __repr__(self) -> str:
        return f"(x * {self.scale} - {self.mean}) / {self.std}"

    def __call__(self, tile: Any) -> Any:
        made = np.asarray(tile).astype(np.float32)
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) not in (1, made.shape[1]):
                raise ArgumentError(
                    f"{name} has {len(values)} numbers and the image {made.shape[1]} channels; "
                    "give one for each, or one for all."
                )
        made *= np.float32(self.scale)
        shape = (1, -1, *(1,) * (made.ndim - 2))
        made -= np.asarray(self.mean, np.float32).reshape(shape)
        made /= np.asarray(self.std, np.float32).reshape(shape)
        return made


@dataclass(frozen=True)
class Image:
    """An array with the dimensions that a model takes: batch, channels and positions.

    `order` has for each of them the dimension of `array`, None for one that it lacks. Only what is
    sliced is read; of `channels`, where given, those.
    """

    array: Any
    order: tuple[int | None, ...]
    name: str = "the image"
    channels: tuple[int, ...] | None = None
    prepare: Prepare | None = None
    shape: Shape = field(init=False)

    def __post_init__(self) -> None:
        held = tuple(int(n) for n in self.array.shape)
        shape = [1 if at is None else held[at] for at in self.order]
        if self.channels is not None:
            beyond = [c for c in self.channels if not 0 <= c < shape[1]]
            if beyond:
                raise ArgumentError(
                    f"{self.name}: channels has {beyond[0]} and there are {shape[1]}, from 0."
                )
            shape[1] = len(self.channels)
        object.__setattr__(self, "shape", tuple(shape))

    @property
    def dtype(self) -> Any:
        """What the numbers of the array are."""
        return self.array.dtype

    def __getitem__(self, part: tuple[slice, ...]) -> Any:
        """The numbers of one box, as the model takes them. Raises `RunError` where none come."""
        key: list[Any] = [slice(0, 1)] * len(self.array.shape)
        for at, one in zip(self.order, part, strict=True):
            if at is not None:
                key[at] = one
        chosen = self.channels is not None and self.order[1] is not None
        if chosen:
            key[self.order[1]] = slice(0, int(self.array.shape[self.order[1]]))  # type: ignore[index]
        try:
            read = self.array[tuple(key)]
            if not hasattr(read, "permute"):
                read = np.asarray(read)
        except Exception as error:
            box = ", ".join(f"{one.start}:{one.stop}" for one in key)
            text = str(error) or type(error).__name__
            raise RunError(f"{self.name}: [{box}] is not to be read: {text}") from error
        made = _in_order(read, self.order)
        if chosen:
            made = made[:, list(self.channels or ())][:, part[1]]
        if self.prepare is None:
            return made
        try:
            ready = self.prepare(made)
        except AtrousError:
            raise
        except Exception as error:
            text = f"{type(error).__name__}: {error}"
            raise RunError(f"{self.name}: prepare raised {text} on a tile.") from error
        if tuple(ready.shape) != tuple(made.shape):
            raise ArgumentError(
                f"prepare makes {tuple(ready.shape)} of {tuple(made.shape)}; it is to keep the "
                "shape of a tile."
            )
        return ready


def _in_order(read: Any, order: Sequence[int | None]) -> Any:
    """The dimensions in their order; those that lie in none have one position, and go."""
    there = [at for at in order if at is not None]
    gone = [at for at in range(len(read.shape)) if at not in there]
    whole = (*gone, *there)
    turned = read.permute(whole) if hasattr(read, "permute") else read.transpose(whole)
    sizes = [1 if at is None else int(read.shape[at]) for at in order]
    return turned if list(turned.shape) == sizes else turned.reshape(sizes)


def as_image(
    array: Any,
    *,
    name: str = "the image",
    axes: str | None = None,
    rank: int | None = None,
    channels: Sequence[int] | None = None,
    prepare: Prepare | None = None,
) -> Image:
    """The array as a model takes it that has `rank` dimensions, None where that is not known.

    `axes` has a letter for each dimension, `"YXC"` for channels last: N or B the batch, C or S the
    channels, T, Z, Y and X positions. Without it the array has the model's dimensions, or lacks the
    batch, or the batch and the channels.

    >>> import numpy as np
    >>> as_image(np.zeros((64, 48, 3)), axes="YXC").shape
    (1, 3, 64, 48)
    >>> as_image(np.zeros((64, 48)), rank=4).shape
    (1, 1, 64, 48)
    """
    for wanted in ("shape", "dtype", "__getitem__"):
        if not hasattr(array, wanted):
            raise ArgumentError(
                f"{name}: a {type(array).__name__} has no `{wanted}`; give an array, or a path."
            )
    given = len(array.shape)
    if axes is not None:
        order = _by_letters(axes.upper(), tuple(array.shape), rank, name)
    elif rank is None or given == rank:
        order = tuple(range(given))
    elif given in (rank - 1, rank - 2) and given >= 1:
        order = (*(None,) * (rank - given), *range(given))
    else:
        raise ArgumentError(
            f"{name}: it has {given} dimensions, {_sizes_text(array.shape)}, and the model takes "
            f"{rank}; say with axes which is which, such as axes='YXC'."
        )
    chosen = None if channels is None else tuple(int(c) for c in channels)
    return Image(array, order, name, chosen, prepare)


def _by_letters(
    axes: str, shape: Sequence[int], rank: int | None, name: str
) -> tuple[int | None, ...]:
    if len(axes) != len(shape) or len(set(axes)) != len(axes) or not axes.isalpha():
        raise ArgumentError(
            f"{name}: axes is {axes!r} and the array has {len(shape)} dimensions, "
            f"{_sizes_text(shape)}; give one letter for each, such as 'YXC'."
        )
    # Of two that may be the channels, and of axes that no model has, those of one position go.
    batch = _only([i for i, a in enumerate(axes) if a in _BATCH], shape, axes, name)
    channel = _only([i for i, a in enumerate(axes) if a in _CHANNEL], shape, axes, name)
    spatial = [i for i, a in enumerate(axes) if a in _SPATIAL]
    while rank is not None and len(spatial) > rank - 2 and shape[spatial[0]] == 1:
        del spatial[0]
    if rank is not None and len(spatial) != rank - 2:
        found = "".join(axes[i] for i in spatial) or "none"
        raise ArgumentError(
            f"{name}: {axes} has positions along {found}, {_sizes_text(shape)}, and the model "
            f"takes {rank - 2} of them; give an image of these, or say with axes which is which."
        )
    for i, letter in enumerate(axes):
        if letter not in _BATCH + _CHANNEL + _SPATIAL and shape[i] != 1:
            raise ArgumentError(
                f"{name}: axis {letter} of {axes} has {shape[i]} positions and is none that a "
                "model has; give one of them, or say with axes what it is."
            )
    return (batch, channel, *spatial)


def _only(found: list[int], shape: Sequence[int], axes: str, name: str) -> int | None:
    several = [i for i in found if shape[i] > 1]
    if len(several) > 1:
        letters = " and ".join(axes[i] for i in several)
        raise ArgumentError(f"{name}: {letters} of {axes} are one dimension of a model; join them.")
    return several[0] if several else found[0] if found else None


def _sizes_text(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))


@contextmanager
def kinds_said(name: str, images: Sequence[Any]) -> Iterator[None]:
    """What a model raises on whole numbers says what it was given, and what to do."""
    try:
        yield
    except RuntimeError as error:
        kinds = sorted({str(image.dtype).removeprefix("torch.") for image in images})
        if isinstance(error, AtrousError) or all("float" in kind for kind in kinds):
            raise
        text = " ".join(str(error).split()).rstrip(".")
        raise ArgumentError(
            f"{name}: it does not run on {', '.join(kinds)}: {text}. Make of the image "
            "what the model takes first, scaled as it expects it."
        ) from error


def like_image(image: Any, made: NDArray[Any] | None) -> Any:
    """What was made, as a tensor where the image is one."""
    if type(image).__module__.partition(".")[0] == "torch" and made is not None:
        import torch

        return torch.from_numpy(made)
    return made
