"""Writes an ONNX model whole or not at all, with its external data where the copy finds it."""

from __future__ import annotations

import filecmp
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from atrous.errors import AtrousError, ReadError, concerning
from atrous.files import whole_file
from atrous.readers.onnx.file import inside, subgraphs

if TYPE_CHECKING:
    import onnx

__all__ = ["WriteError", "save_onnx"]

_LARGEST_FILE = 1 << 31


class WriteError(AtrousError, OSError):
    """A file that cannot be written where it was asked for.

    >>> isinstance(WriteError("there is no such folder."), OSError)
    True
    """


def save_onnx(
    model: onnx.ModelProto, path: str | Path, *, source: Path | None = None
) -> tuple[Path, ...]:
    """The model is in the file `path`, or what was there before still is; the files written.

    `source` is the file that the model came from, or its folder. Where it keeps weights in files
    beside it, these are copied beside `path` unless they are there already. Raises `WriteError`
    where the target is a folder, has no folder, or where another file has the name of such data;
    where the model is beyond the 2 GiB that a file can hold; and where the disk refuses.
    """
    path = Path(path)
    with concerning(path.name or str(path)):
        _check_target(path)
        files = sorted(set(_locations(model)))
        size = model.ByteSize()
        if size >= _LARGEST_FILE:
            raise WriteError(
                f"would be {size:,} bytes long and an ONNX file ends at 2 GiB; keep the weights "
                "of the source as external data and convert that."
            )
        copied = _copy_data(files, path, source) if files else []
        with _whole_or_refused(path) as made:
            made.write_bytes(model.SerializeToString())
    return (path, *copied)


def _check_target(path: Path) -> None:
    if path.is_dir():
        raise WriteError("is a folder; give the name of the file to write.")
    if not path.parent.is_dir():
        raise WriteError(f"there is no folder {str(path.parent)!r}; make it first.")


def _locations(model: onnx.ModelProto) -> Iterator[str]:
    def within(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
        yield from graph.initializer
        for sparse in graph.sparse_initializer:
            yield from (sparse.values, sparse.indices)
        for node in graph.node:
            for attribute in node.attribute:
                if attribute.HasField("t"):
                    yield attribute.t
                yield from attribute.tensors
            for inner in subgraphs(node):
                yield from within(inner)

    for tensor in within(model.graph):
        if tensor.data_location == 1:
            for entry in tensor.external_data:
                if entry.key == "location":
                    yield entry.value


def _copy_data(files: list[str], path: Path, source: Path | None) -> list[Path]:
    """Copies external data beside `path`, and says which files that made."""
    if source is None:
        raise WriteError(
            f"its weights are external data in {files[0]!r}, and nothing says beside which file; "
            "give the file that the model came from as source."
        )
    here = Path(source)
    folder = (here if here.is_dir() else here.parent).resolve()
    target = path.parent.resolve()
    if any((target / location).resolve() == path.resolve() for location in files):
        raise WriteError("is where its own weights are kept; choose another name.")
    if folder == target:
        return []
    # All are looked at before the first is copied.
    pairs: list[tuple[Path, Path]] = []
    for location in files:
        try:
            found = inside(folder, location, "its external data")
        except ReadError as error:
            raise WriteError(str(error)) from None
        wanted = target / location
        if wanted.exists():
            if wanted.is_file() and filecmp.cmp(found, wanted, shallow=False):
                continue
            raise WriteError(
                f"its weights go to {location!r}, and another file of that name is there already; "
                "write to another folder, or move that file."
            )
        pairs.append((found, wanted))
    for found, wanted in pairs:
        _copy(found, wanted)
    return [path.parent / wanted.relative_to(target) for _, wanted in pairs]


def _copy(found: Path, wanted: Path) -> None:
    try:
        wanted.parent.mkdir(parents=True, exist_ok=True)
        with _whole_or_refused(wanted) as made:
            shutil.copyfile(found, made)
    except WriteError:
        raise
    except OSError as error:
        raise _refused(error) from None


@contextmanager
def _whole_or_refused(path: Path) -> Iterator[Path]:
    try:
        with whole_file(path) as made:
            yield made
    except OSError as error:
        raise _refused(error) from None


def _refused(error: OSError) -> WriteError:
    return WriteError(f"cannot be written: {error.strerror or error}.")
