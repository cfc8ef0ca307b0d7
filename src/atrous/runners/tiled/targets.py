"""Where tiles are written to: arrays, `.npy` files and Zarr, of which each chunk has one tile."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from math import prod
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from atrous.errors import ArgumentError, MissingDependencyError, ReadError
from atrous.files import whole_file
from atrous.network.shapes import Shape
from atrous.plan.along import AxisTiles
from atrous.runners.tiled.journal import sync
from atrous.runners.tiled.sources import Mapped

__all__ = ["Arrays", "Made", "NpyFile", "Target", "ZarrFolder", "target_at"]

_CHUNK = 64 << 20
"""Bytes of a chunk at most, before compression: a tile's part is split where it has more."""
_INNER = 1 << 20
"""The same for chunks that lie in a shard."""


@dataclass(frozen=True, slots=True)
class Made:
    """One array that a run makes: `kept` is how much of it a tile in the middle stands for."""

    name: str
    shape: Shape
    dtype: str
    axes: tuple[str | None, ...]
    kept: Shape
    attributes: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "name": self.name,
            "shape": list(self.shape),
            "dtype": self.dtype,
            "axes": list(self.axes),
            "kept": list(self.kept),
            "attributes": dict(self.attributes),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Made:
        """What `to_dict` gave."""
        return cls(
            data["name"],
            tuple(data["shape"]),
            data["dtype"],
            tuple(data["axes"]),
            tuple(data["kept"]),
            data["attributes"],
        )


def kept_of(
    name: str, shape: Sequence[int], axes: Sequence[str | None], cuts: Sequence[AxisTiles]
) -> Shape:
    """How much of an output each tile stands for, along each dimension."""
    by_axis = {cut.axis: cut for cut in cuts if cut.count > 1}
    return tuple(
        len(by_axis[axis].kept(name, 0)) if axis in by_axis else n
        for n, axis in zip(shape, axes, strict=True)
    )


class Target(Protocol):
    """What takes the parts of an output, in any order."""

    def create(self, made: Sequence[Made], /) -> None:
        """Makes what is to be written into, where it is not there yet, and opens it."""

    def attach(self, made: Sequence[Made], /) -> None:
        """Opens what is there, into which others write as well."""

    def write(self, index: int, place: tuple[slice, ...], part: NDArray[Any], /) -> None:
        """One part of output `index`; on the disk when this returns."""

    def has(self, index: int, place: tuple[slice, ...], /) -> bool:
        """Whether a part is there, as far as can be told without reading it."""


class Arrays:
    """Arrays that take slices, one for each output; what they do with them is their business."""

    def __init__(self, arrays: Sequence[Any]) -> None:
        self.arrays = list(arrays)
        for one in self.arrays:
            if not hasattr(one, "__setitem__") or not hasattr(one, "shape"):
                raise ArgumentError(
                    f"target is a {type(one).__name__}; give an array that takes slices, or a path "
                    "that ends in .zarr or .npy."
                )

    def create(self, made: Sequence[Made]) -> None:
        """Raises `ArgumentError` where the arrays do not fit what is made."""
        if len(made) != len(self.arrays):
            raise ArgumentError(
                f"the model has {len(made)} outputs and target {len(self.arrays)} arrays."
            )
        for one, array in zip(made, self.arrays, strict=True):
            if tuple(array.shape) != one.shape:
                raise ArgumentError(
                    f"{one.name} is {_by(one.shape)} and the target {_by(array.shape)}; give one "
                    "of that shape."
                )
            if not _can_hold(array, one.dtype):
                raise ArgumentError(
                    f"{one.name} is {one.dtype} and the target {array.dtype}, which cannot hold it."
                )

    attach = create

    def write(self, index: int, place: tuple[slice, ...], part: NDArray[Any]) -> None:
        """One part."""
        array = self.arrays[index]
        if hasattr(array, "detach"):
            import torch

            array[place] = torch.from_numpy(np.ascontiguousarray(part))
        else:
            array[place] = part

    def has(self, _index: int, _place: tuple[slice, ...]) -> bool:
        """Nothing is known of them."""
        return False


def _can_hold(array: Any, kind: str) -> bool:
    """Whether an array takes numbers of a kind, as NumPy's rule of the same kind has it."""
    if not hasattr(array, "detach"):
        return np.can_cast(kind, array.dtype, "same_kind")
    import torch

    return bool(torch.can_cast(getattr(torch, kind), array.dtype))


class NpyFile:
    """One array in a `.npy` file, its room taken at the start."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._mapped: Mapped | None = None

    def create(self, made: Sequence[Made]) -> None:
        """Makes the file, unless it is there."""
        _check_one(len(made))
        (one,) = made
        if not self.path.exists():
            self._new(one)
        self.attach(made)

    def attach(self, made: Sequence[Made]) -> None:
        """Opens the file. Raises `ReadError` where it is another array."""
        (one,) = made
        self._mapped = Mapped.of_npy(self.path)
        if (self._mapped.shape, str(self._mapped.dtype)) != (one.shape, one.dtype):
            raise ReadError(f"{self.path}: it is not the array that the run began.")

    def _new(self, one: Made) -> None:
        with whole_file(self.path) as path:
            np.lib.format.open_memmap(path, "w+", np.dtype(one.dtype), one.shape)
            if hasattr(os, "posix_fallocate"):
                # A full disk is an error here, and would end the process where a page is written.
                handle = os.open(path, os.O_RDWR)
                try:
                    os.posix_fallocate(handle, 0, path.stat().st_size)
                finally:
                    os.close(handle)

    def write(self, _index: int, place: tuple[slice, ...], part: NDArray[Any]) -> None:
        """One part; pages are let go of again."""
        assert self._mapped is not None
        mapped = self._mapped.open("r+")
        mapped[place] = part
        mapped.flush()

    def has(self, _index: int, _place: tuple[slice, ...]) -> bool:
        """The file is there."""
        return self.path.exists()


def _check_one(outputs: int) -> None:
    if outputs > 1:
        raise ArgumentError(
            f"a .npy file holds one array and the model has {outputs} outputs; give a path that "
            "ends in .zarr."
        )


class ZarrFolder:
    """Zarr of format 3: one array, or a group of several.

    Chunks are what tiles keep, or whole parts of that, so that each is written once and by one
    tile. With `shards` a tile's part is one file of small chunks.
    """

    def __init__(self, path: Path, *, shards: bool = False) -> None:
        self.path, self.shards = path, shards
        self._arrays: list[Any] = []
        self._folders: list[Path] = []
        self._files: list[Shape] = []
        self._entered: set[Path] = set()

    def create(self, made: Sequence[Made]) -> None:
        """Makes what is not there yet, and clears what a write that was cut off has left."""
        zarr = _zarr(self.path)
        if len(made) > 1 and not (self.path / "zarr.json").exists():
            zarr.create_group(self.path)
        for one, folder in self._places(made):
            for left in folder.rglob("*.partial"):
                left.unlink()
            if not (folder / "zarr.json").exists():
                self._new(zarr, folder, one)
            sync(folder / "zarr.json")
            sync(folder)
        sync(self.path)
        sync(self.path.parent)
        self.attach(made)

    def attach(self, made: Sequence[Made]) -> None:
        """Opens the arrays."""
        zarr = _zarr(self.path)
        for one, folder in self._places(made):
            # An array that is opened takes this from the settings of the moment.
            with zarr.config.set({"array.write_empty_chunks": True}):
                self._arrays.append(zarr.open_array(folder, mode="r+"))
            self._folders.append(folder)
            self._files.append(self._filed(one))

    def _places(self, made: Sequence[Made]) -> list[tuple[Made, Path]]:
        return [(one, self.path / one.name if len(made) > 1 else self.path) for one in made]

    def _filed(self, one: Made) -> Shape:
        """How much of an output lies in one file."""
        itemsize = np.dtype(one.dtype).itemsize
        return one.kept if self.shards else split(one.kept, itemsize, _CHUNK)

    def _new(self, zarr: Any, folder: Path, one: Made) -> None:
        itemsize = np.dtype(one.dtype).itemsize
        filed = self._filed(one)
        zarr.create_array(
            folder,
            shape=one.shape,
            dtype=one.dtype,
            chunks=split(filed, itemsize, _INNER) if self.shards else filed,
            shards=filed if self.shards else None,
            fill_value=0,
            dimension_names=[axis or ("n", "c")[min(i, 1)] for i, axis in enumerate(one.axes)],
            attributes=dict(one.attributes),
        )

    def write(self, index: int, place: tuple[slice, ...], part: NDArray[Any]) -> None:
        """One part, and waits until its files and their folders are on the disk."""
        self._arrays[index][place] = part
        folders: dict[Path, None] = {}
        for path in self._paths(index, place):
            sync(path)
            folders[path.parent] = None
        # A folder is in its own folder from the first file on.
        for folder in list(folders):
            while folder != self._folders[index] and folder not in self._entered:
                self._entered.add(folder)
                folder = folder.parent
                folders[folder] = None
        for folder in folders:
            sync(folder)

    def has(self, index: int, place: tuple[slice, ...]) -> bool:
        """Whether all files of a part are there: none is left out because it is empty."""
        return all(path.is_file() for path in self._paths(index, place))

    def _paths(self, index: int, place: tuple[slice, ...]) -> Iterator[Path]:
        spans = [
            range(one.start // n, -(-one.stop // n))
            for one, n in zip(place, self._files[index], strict=True)
        ]
        for at in product(*spans):
            yield self._folders[index].joinpath("c", *map(str, at))


def split(kept: Sequence[int], itemsize: int, most: int) -> Shape:
    """Chunks of `most` bytes that divide what a tile keeps; larger ones where nothing divides.

    Other dimensions than the batch go first from the front: channels before positions.

    >>> split((1, 21, 1024, 1024), 4, 64 << 20), split((1, 1, 512, 512), 1, 1 << 16)
    ((1, 7, 1024, 1024), (1, 1, 256, 256))
    """
    found = list(kept)
    while prod(found) * itemsize > most:
        order = [1] if len(found) > 1 and _least_factor(found[1]) else []
        order += [*sorted(range(2, len(found)), key=lambda i: -found[i]), 0]
        at = next((i for i in order if i < len(found) and _least_factor(found[i])), None)
        if at is None:
            break
        found[at] //= _least_factor(found[at])
    return tuple(found)


def _least_factor(n: int) -> int:
    """The least number above 1 that divides `n`; 0 for 1."""
    return next((p for p in range(2, int(n**0.5) + 1) if not n % p), n) if n > 1 else 0


def _zarr(path: Path) -> Any:
    try:
        import zarr
    except ImportError:
        raise MissingDependencyError(
            f"{path}: writing it needs zarr: pip install atrous[run]"
        ) from None
    return zarr


@dataclass(frozen=True, slots=True)
class Place:
    """A path that a run writes to, and where it keeps what it has done."""

    path: Path
    shards: bool = False

    def target(self) -> NpyFile | ZarrFolder:
        """What writes there."""
        if self.path.suffix == ".npy":
            return NpyFile(self.path)
        return ZarrFolder(self.path, shards=self.shards)

    def check(self, outputs: int) -> None:
        """Raises `ArgumentError` where it does not hold so many outputs."""
        if self.path.suffix == ".npy":
            _check_one(outputs)

    def state(self, made: Sequence[str] = ()) -> Path:
        """The folder of the journal: hidden, and in no group, which would list it."""
        if self.path.suffix == ".npy":
            return self.path.with_name(f".{self.path.name}.atrous")
        found = sorted(self.path.glob("*/.atrous")) if self.path.is_dir() else []
        inner = self.path / made[0] if len(made) > 1 else self.path
        return found[0] if found and not (self.path / ".atrous").exists() else inner / ".atrous"

    def clear(self, state: Path) -> None:
        """Removes what is there. Raises `ArgumentError` for a folder that is no Zarr."""
        if self.path.is_dir():
            marks = ("zarr.json", ".zarray", ".zgroup", ".atrous")
            if any(self.path.iterdir()) and not any((self.path / m).exists() for m in marks):
                raise ArgumentError(f"{self.path}: a folder that is no Zarr is not overwritten.")
            shutil.rmtree(self.path)
        else:
            self.path.unlink(missing_ok=True)
        shutil.rmtree(state, ignore_errors=True)


def target_at(path: str | os.PathLike[str], *, shards: bool = False) -> Place:
    """The place that a path names. Raises `ArgumentError` for one that nothing writes to."""
    found = Path(path)
    if found.suffix not in (".zarr", ".npy"):
        raise ArgumentError(f"{path}: results are written to .zarr and .npy; end it so.")
    if shards and found.suffix != ".zarr":
        raise ArgumentError(f"{path}: only .zarr has shards.")
    if not found.parent.is_dir():
        raise ArgumentError(f"{path}: there is no folder {found.parent}; make it first.")
    return Place(found, shards)


def _by(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))
