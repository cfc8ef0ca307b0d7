"""Loads an ONNX file without trusting it: what cannot be right is one clear `ReadError`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from atrous.errors import ReadError
from atrous.files import is_there
from atrous.network.records import Param
from atrous.readers.foreign import foreign_file, foreign_folder, missing_file, name_of
from atrous.readers.onnx.values import FLOATS, STRING, Const, checked, itemsize, nbytes

if TYPE_CHECKING:
    import onnx

    from atrous.readers.onnx.values import Array

__all__ = ["Source", "dense_constant", "load", "sparse_constant"]

_LARGEST_FILE = 1 << 31
_OLDEST_OPSET = 7
_TYPED = ("float_data", "int32_data", "int64_data", "double_data", "uint64_data", "string_data")


@dataclass(frozen=True, slots=True)
class Source:
    """A model as it was read: the message, what to call it, and the folder that holds its data."""

    model: onnx.ModelProto
    label: str
    folder: Path | None = None

    @property
    def opsets(self) -> dict[str, int]:
        """The version of each operator set, the default one under the empty name."""
        return {
            "" if entry.domain == "ai.onnx" else entry.domain: entry.version
            for entry in self.model.opset_import
        }


def load(source: str | Path | onnx.ModelProto) -> Source:
    """The model of a file or message, without the data of its weights.

    Raises `ReadError` for anything that is no ONNX model of operator set 7 or later.
    """
    import onnx

    if isinstance(source, onnx.ModelProto):
        return Source(source, source.graph.name[:80] or "ONNX model")
    path = Path(source)
    model = _parsed(path)
    return Source(model, name_of(path), path.resolve().parent)


def _parsed(path: Path) -> onnx.ModelProto:
    """The message in a file, without the files of external data."""
    import onnx
    from google.protobuf.message import DecodeError

    try:
        if path.is_dir():
            raise ReadError(foreign_folder(path) or "is a folder; give the .onnx file in it.")
        if not is_there(path):
            raise ReadError(missing_file(path))
        if not path.is_file():
            raise ReadError("is no regular file; give the path of an .onnx file.")
        size = path.stat().st_size
        if size > _LARGEST_FILE:
            raise ReadError(
                foreign_file(path)
                or f"is {size:,} bytes long and an ONNX file ends at 2 GiB; "
                "keep its weights as external data."
            )
        if not size:
            raise ReadError("is empty; export or download it anew.")
        model = onnx.ModelProto.FromString(path.read_bytes())
        # What is something else may parse by chance, into nothing.
        known = "" if model.HasField("graph") else foreign_file(path)
        if known:
            raise ReadError(known)
        return model
    except DecodeError:
        known = foreign_file(path)
        raise ReadError(
            known
            or "is truncated, or no ONNX file at all: it does not parse; export or download it "
            "anew."
        ) from None
    except (OSError, ValueError) as error:
        if isinstance(error, ReadError):
            raise
        raise ReadError(f"cannot be opened: {getattr(error, 'strerror', None) or error}.") from None


def check(source: Source) -> None:
    """Raise `ReadError` unless the message holds a graph and says which operators it uses."""
    model = source.model
    _check_names(model)
    if not model.HasField("graph") or not (model.graph.node or model.graph.output):
        raise ReadError("holds no graph; is this an ONNX model?")
    version = source.opsets.get("")
    if version is None:
        if not any(node.domain in ("", "ai.onnx") for node in model.graph.node):
            return
        raise ReadError("does not say which operator set it uses; re-export it.")
    if version < _OLDEST_OPSET:
        raise ReadError(
            f"uses operator set {version}; {_OLDEST_OPSET} and later are read: convert it with "
            "onnx.version_converter."
        )


def _check_names(model: onnx.ModelProto) -> None:
    """Raise `ReadError` where a name is no text: protobuf hands such bytes on as they are."""
    waiting: list[Any] = [*model.opset_import, model.graph, *model.functions]
    while waiting:
        message = waiting.pop()
        # Not all fields of a tensor: looking at its numbers copies them.
        tensor = message.DESCRIPTOR.name == "TensorProto"
        fields = (
            (message.DESCRIPTOR.fields_by_name[name], getattr(message, name))
            for name in ("name", "external_data")
        )
        for field, value in fields if tensor else message.ListFields():
            if field.type == field.TYPE_MESSAGE:
                waiting += value if field.is_repeated else [value]
            elif field.type == field.TYPE_STRING and field.name != "doc_string":
                for text in value if field.is_repeated else [value]:
                    if not isinstance(text, str):
                        raise ReadError(
                            f"holds the name {text[:20]!r}, which is no text in UTF-8; "
                            "the file is damaged."
                        )


def dense_constant(
    tensor: onnx.TensorProto,
    source: Source,
    is_parameter: Callable[[str, int], bool],
    name: str = "",
) -> Const:
    """The constant that a tensor of the file holds; its numbers stay where they are until needed.

    `is_parameter` tells by name and count whether numbers are a parameter. Raises `ReadError`
    where shape and data disagree, or external data is not where it may be.
    """
    name = name or tensor.name
    what = f"the tensor {name[:80]!r}"
    shape = checked(tensor.dims, what)
    count = prod(shape)
    dtype = tensor.data_type
    parameter = dtype in FLOATS and is_parameter(name, count)
    params = (Param(name, count, itemsize(dtype), buffer=not parameter),)
    if tensor.data_location == 1:
        path, offset, load = _external(tensor, source, count, what) or (None, 0, None)
        mapped = None if path is None else _mapped(path, offset, dtype, shape)
        return Const(name, shape, dtype, params, load, mapped)
    _check_data(tensor, count, what)
    if nbytes(dtype, count) is None:
        # Of a type that is not known, the shape is.
        return Const(name, shape, dtype, params)
    return Const(name, shape, dtype, params, lambda: _numbers(tensor, what))


def _numbers(tensor: onnx.TensorProto, what: str) -> Array:
    """The numbers in a tensor. Raises `ReadError` where onnx cannot make them out."""
    from onnx import numpy_helper

    try:
        result: Array = numpy_helper.to_array(tensor)
    except Exception as error:  # onnx raises several kinds, all about this tensor
        raise ReadError(f"{what} cannot be read: {str(error)[:200]}.") from None
    return result


def sparse_constant(tensor: onnx.SparseTensorProto) -> Const:
    """The constant that a sparse tensor stands for; it counts the numbers that are stored."""
    values = tensor.values
    shape = checked(tensor.dims, f"the tensor {values.name[:80]!r}")
    count = sum(values.dims[:1])
    if count < 0 or (shape and count > prod(shape)):
        raise ReadError(f"the sparse tensor {values.name[:80]!r} holds {count} values.")
    dtype = values.data_type
    params = (Param(values.name, count, itemsize(dtype), dtype in FLOATS),) if values.name else ()
    return Const(values.name, shape, dtype, params)


def _check_data(tensor: onnx.TensorProto, count: int, what: str) -> None:
    """Raise `ReadError` unless a tensor holds as many bytes or numbers as its shape needs."""
    needed = nbytes(tensor.data_type, count)
    if tensor.data_type == STRING or needed is None:
        return
    if tensor.HasField("raw_data"):
        if len(tensor.raw_data) != needed:
            raise ReadError(
                f"{what} holds {len(tensor.raw_data):,} bytes where its shape needs {needed:,}; "
                "the file is damaged."
            )
        return
    held = max(len(getattr(tensor, field)) for field in _TYPED)
    if held == count or (tensor.data_type in (14, 15) and held == 2 * count):
        return
    if nbytes(tensor.data_type, 8) != 8 * itemsize(tensor.data_type) and held * 4 >= needed:
        return
    raise ReadError(
        f"{what} holds {held:,} numbers where its shape needs {count:,}; the file is damaged."
    )


def _mapped(path: Path, offset: int, dtype: int, shape: tuple[int, ...]) -> Any:
    """How to look at numbers in their file, of which only what is looked at is read."""
    from onnx import helper

    kind = helper.tensor_dtype_to_np_dtype(dtype)
    if kind.itemsize * 8 * prod(shape) != 8 * (nbytes(dtype, prod(shape)) or 0):
        return None

    def numbers() -> Array:
        import numpy as np

        return np.memmap(path, kind.newbyteorder("<"), "r", offset, shape)

    return numbers


def _external(
    tensor: onnx.TensorProto, source: Source, count: int, what: str
) -> tuple[Path, int, Any] | None:
    """Where numbers lie in a file of their own, which is checked but not read, and how to load."""
    if source.folder is None:
        return None  # a message has no folder; its shapes are all that is needed
    entries = {entry.key: entry.value for entry in tensor.external_data}
    location = entries.get("location", "")
    path = inside(source.folder, location, what)
    needed = nbytes(tensor.data_type, count) or 0
    offset = _number(entries.get("offset", "0"), what)
    length = _number(entries.get("length", str(needed)), what)
    size = path.stat().st_size
    if length < needed:
        raise ReadError(f"{what} keeps {length:,} bytes where its shape needs {needed:,}.")
    if offset + length > size:
        raise ReadError(
            f"{what} lies at bytes {offset:,} to {offset + length:,} of {location!r}, which ends "
            f"at {size:,}; the file is truncated: copy it anew."
        )

    def numbers() -> Array:
        import onnx

        with path.open("rb") as file:
            file.seek(offset)
            raw = file.read(needed)
        held = onnx.TensorProto(dims=tensor.dims, data_type=tensor.data_type, raw_data=raw)
        return _numbers(held, what)

    return path, offset, numbers


def inside(folder: Path, location: str, what: str) -> Path:
    """The file of external data at `location`; a `ReadError` where it is not in the folder."""
    # Backslashes and drives as well: the file may have been made for another system.
    parts = location.replace("\\", "/").split("/")
    shown = location[:80]
    if not location or "\0" in location:
        raise ReadError(f"{what} is external and does not say where.")
    if parts[0] == "" or ":" in parts[0] or ".." in parts:
        raise ReadError(
            f"{what} is kept at {shown!r}, outside the folder of the model; that is "
            "not followed: save the model anew, with its data beside it."
        )
    path = folder / location
    try:
        resolved = path.resolve()
        within, there = resolved.is_relative_to(folder), resolved.is_file()
    except (OSError, RuntimeError, ValueError):
        within, there = True, False
    if not within:
        raise ReadError(
            f"{what} is kept at {shown!r}, a link out of the folder of the model; "
            "that is not followed: put the file itself there."
        )
    if not there:
        raise ReadError(
            f"{what} is kept in {shown!r}, which is not beside the model; put it there."
        )
    return resolved


def _number(text: str, what: str) -> int:
    """An offset or a length that the file gives as text."""
    if len(text) < 20 and text.isascii() and text.isdigit():
        return int(text)
    raise ReadError(f"{what} says that its data lies at {text[:40]!r}, which is no number.")


def subgraphs(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    """The graphs that a node holds in its attributes."""
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs
