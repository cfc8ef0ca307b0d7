"""Images in files, of which only what is asked for is read: `.npy`, `.zarr` and TIFF.

A source opens for each region anew or holds handles that many threads may use, and `state` tells
whether what lies on the disk is still what it was.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from atrous.errors import MissingDependencyError, ReadError

__all__ = ["Mapped", "Opened", "digest_of_samples", "georeference", "open_image"]

_SAMPLES = 16
_LONGEST_SAMPLE = 64
_AXES = frozenset("NBCSTZYX")


class _Sliced(Protocol):
    shape: Any
    dtype: Any

    def __getitem__(self, key: Any) -> Any: ...


def _nothing() -> None:
    return None


@dataclass(frozen=True)
class Opened:
    """An array, the letters of its axes where its file tells them, and its place on the earth."""

    array: Any
    name: str
    axes: str | None = None
    files: tuple[Path, ...] = ()
    """What it lies in: files, or one folder."""
    tags: Mapping[str, Any] = field(default_factory=dict)
    """What else the file says that holds for results, too: the georeference."""
    close: Callable[[], None] = _nothing
    """Lets go of the file."""

    def state(self) -> dict[str, Any]:
        """What tells it from another, or from itself when it has changed."""
        found: dict[str, Any] = {
            "path": " ".join(map(str, self.files)) or self.name,
            "shape": [int(n) for n in self.array.shape],
            "dtype": str(self.array.dtype),
        }
        if not self.files:
            return found | {"samples": digest_of_samples(self.array)}
        return found | {"files": _digest_of_files(self.files)}

    @property
    def is_cheap(self) -> bool:
        """Whether `state` looks at few files only."""
        return bool(self.files) and not any(map(Path.is_dir, self.files))


def open_image(source: Any) -> Opened:
    """The array that a path leads to, or the array itself.

    Raises `ReadError` for a path that leads to none, `MissingDependencyError` where the library for
    it is not installed.
    """
    if not isinstance(source, str | os.PathLike):
        return Opened(source, "the image")
    path = Path(source)
    name = str(source)
    if not path.exists():
        raise ReadError(f"{name}: there is no such file.")
    ending = path.suffix.lower()
    try:
        if ending == ".npy":
            return Opened(Mapped.of_npy(path), name, files=(path.resolve(),))
        if ending in (".tif", ".tiff"):
            return _open_tiff(path, name)
        if path.is_dir():
            return _open_zarr(path, name)
    except ImportError as error:
        raise MissingDependencyError(
            f"{name}: reading it needs {error.name}: pip install atrous[run]"
        ) from None
    except (ReadError, MissingDependencyError):
        raise
    except Exception as error:
        raise ReadError(f"{name}: it is not to be read: {error}") from error
    raise ReadError(f"{name}: images are .npy, .zarr, .tif and .tiff.")


def _open_zarr(path: Path, name: str) -> Opened:
    import zarr

    found = zarr.open(path, mode="r")
    if isinstance(found, zarr.Array):
        return Opened(found, name, _named_axes(found), (path.resolve(),), _attributes(found))
    attributes = found.attrs.asdict()
    scales = attributes.get("ome", attributes).get("multiscales")
    if scales:
        best = found[scales[0]["datasets"][0]["path"]]
        axes = "".join(_letter(axis) for axis in scales[0].get("axes", ()))
        known = axes if len(axes) == best.ndim and set(axes) <= _AXES else None
        return Opened(best, name, known, (path.resolve(),), _attributes(found))
    arrays = dict(found.arrays())
    if len(arrays) == 1:
        (only,) = arrays.values()
        return Opened(only, name, _named_axes(only), (path.resolve(),), _attributes(only))
    names = ", ".join(sorted(arrays)) or "none"
    raise ReadError(f"{name}: a group of arrays ({names}); give one of them, as {path}/NAME.")


def _attributes(found: Any) -> dict[str, Any]:
    held = found.attrs.asdict()
    return {"geotiff": held["geotiff"]} if isinstance(held.get("geotiff"), dict) else {}


def _letter(axis: Any) -> str:
    """One axis of OME-Zarr: by its name, of 0.3 a plain text."""
    name = axis.get("name", "?") if isinstance(axis, dict) else str(axis)
    return str(name)[:1].upper()


def _named_axes(array: Any) -> str | None:
    names = getattr(array.metadata, "dimension_names", None) or ()
    letters = "".join(_LETTERS.get(str(one).lower(), "?") for one in names)
    return letters if letters and len(letters) == array.ndim and set(letters) <= _AXES else None


_LETTERS = {
    **{letter.lower(): letter for letter in _AXES},
    "batch": "N",
    "channel": "C",
    "channels": "C",
    "band": "C",
    "bands": "C",
    "h": "Y",
    "w": "X",
    "d": "Z",
    "lat": "Y",
    "latitude": "Y",
    "lon": "X",
    "longitude": "X",
    "time": "T",
}

_GEO_TAGS = {
    33550: "ModelPixelScale",
    33922: "ModelTiepoint",
    34264: "ModelTransformation",
    34735: "GeoKeyDirectory",
    34736: "GeoDoubleParams",
    34737: "GeoAsciiParams",
    42113: "GDAL_NODATA",
}


def _open_tiff(path: Path, name: str) -> Opened:
    import tifffile

    with tifffile.TiffFile(path) as file:
        series = file.series[0]
        axes, page = series.axes, file.pages[0]
        tags = {
            called: _plain_tag(page.tags[code].value)
            for code, called in _GEO_TAGS.items()
            if code in page.tags
        }
        start = series.dataoffset
        laid = (start, series.shape, series.dtype) if start is not None else None
        order = file.byteorder
    files = (path.resolve(),)
    known = axes if set(axes) <= _AXES and len(set(axes)) == len(axes) else None
    located = {"geotiff": tags} if any("Model" in one or "Geo" in one for one in tags) else {}
    if laid is not None:
        # Uncompressed and in one piece: rows lie where they are asked for.
        offset, shape, dtype = laid
        plain = Mapped(path, np.dtype(dtype).newbyteorder(order), offset, tuple(shape))
        return Opened(plain, name, known, files, located)
    import zarr

    store = tifffile.imread(path, aszarr=True, level=0)
    return Opened(zarr.open(store, mode="r"), name, known, files, located, store.close)


@dataclass(frozen=True)
class Mapped:
    """Numbers in one piece of a file, mapped anew for each region: pages are not held.

    The head of a file is looked at once: Python 3.11 may parse in one thread at a time only.
    """

    path: Path
    stored: Any
    offset: int
    shape: tuple[int, ...]
    by_columns: bool = False

    @classmethod
    def of_npy(cls, path: Path) -> Mapped:
        """The array of a `.npy` file."""
        held = np.load(path, mmap_mode="r", allow_pickle=False)
        by_columns = held.flags.f_contiguous and not held.flags.c_contiguous
        return cls(path, held.dtype, held.offset, held.shape, by_columns)

    @property
    def dtype(self) -> Any:
        """The numbers as this machine has them."""
        return self.stored.newbyteorder("=")

    def open(self, mode: Literal["r", "r+"] = "r") -> Any:
        """The whole, of which what is touched is read."""
        order: Literal["F", "C"] = "F" if self.by_columns else "C"
        return np.memmap(self.path, self.stored, mode, self.offset, self.shape, order)

    def __getitem__(self, key: Any) -> Any:
        return np.array(self.open()[key], dtype=self.dtype)


def _plain_tag(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode("latin-1")
    return list(value) if isinstance(value, tuple | list) else value


def georeference(tags: Mapping[str, Any], factors: tuple[float, float]) -> dict[str, Any]:
    """GeoTIFF's tags where a pixel stands for so many rows and columns of the file's.

    The corner of the first pixel stays.

    >>> georeference({"ModelPixelScale": [10.0, 10.0, 0.0]}, (2.0, 2.0))
    {'ModelPixelScale': [20.0, 20.0, 0.0]}
    """
    found = dict(tags)
    rows, columns = factors
    if "ModelPixelScale" in found:
        x, y, *rest = found["ModelPixelScale"]
        found["ModelPixelScale"] = [x * columns, y * rows, *rest]
    if "ModelTiepoint" in found:
        held = list(found["ModelTiepoint"])
        for start in range(0, len(held), 6):
            held[start] /= columns
            held[start + 1] /= rows
        found["ModelTiepoint"] = held
    if "ModelTransformation" in found:
        held = list(found["ModelTransformation"])
        for start in range(0, 16, 4):
            held[start] *= columns
            held[start + 1] *= rows
        found["ModelTransformation"] = held
    return found


def digest_of_samples(array: _Sliced) -> str:
    """A hash of a few numbers of an array, at places spread over it."""
    shape = [int(n) for n in array.shape]
    made = hashlib.sha256()
    for place in range(_SAMPLES):
        try:
            made.update(np.ascontiguousarray(_sample(array, shape, place)).tobytes())
        except Exception:
            # What is not to be read is said when its tile is read.
            made.update(b"unread")
    return made.hexdigest()[:32]


def _sample(array: _Sliced, shape: Sequence[int], place: int) -> Any:
    # Steps of different primes over the axes, so that no two samples share a row.
    primes = (2, 3, 5, 7, 11, 13)
    key = []
    for axis, n in enumerate(shape):
        wide = min(_LONGEST_SAMPLE, n) if axis == len(shape) - 1 else 1
        share = (place * primes[axis % 6] % _SAMPLES) / (_SAMPLES - 1)
        at = int(share * (n - wide)) if n > wide else 0
        key.append(slice(min(at, n - wide), min(at, n - wide) + wide))
    read = array[tuple(key)]
    return read.detach().cpu().double().numpy() if hasattr(read, "detach") else read


def _digest_of_files(files: Sequence[Path]) -> str:
    """A hash of the names, sizes and times of change of files, of folders all that is in them."""
    made = hashlib.sha256()
    for path in files:
        for name, size, changed in _stats(path):
            made.update(f"{name}\0{size}\0{changed}\n".encode())
    return made.hexdigest()[:32]


def _stats(path: Path) -> Iterator[tuple[str, int, int]]:
    if not path.is_dir():
        seen = path.stat()
        yield path.name, seen.st_size, seen.st_mtime_ns
        return
    with os.scandir(path) as entries:
        listed = sorted(entries, key=lambda entry: entry.name)
    for entry in listed:
        if entry.is_dir():
            if entry.name != ".atrous":
                for name, size, changed in _stats(Path(entry.path)):
                    yield f"{entry.name}/{name}", size, changed
        else:
            seen = entry.stat()
            yield entry.name, seen.st_size, seen.st_mtime_ns
