"""Any source as a network, by what kind of source it is."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from atrous.errors import AtrousError, GeometryError, NetworkError, ReadError, concerning
from atrous.files import is_there
from atrous.network import Network
from atrous.network.shapes import rounded
from atrous.network.walk import structural
from atrous.plugins import extensions, guarded
from atrous.readers.foreign import foreign_file, missing_file, name_of
from atrous.readers.given import as_shape, is_shape, shapes_of
from atrous.readers.kind import kind_of, what_it_is
from atrous.readers.named import make, parse, read_named
from atrous.readers.near import near_words

__all__ = ["check_file", "made_of", "read", "read_unrun", "sized"]

STACK_INPUT = (1, 64, 512, 512)
_ONNX = (".onnx", ".pb", ".pbtxt")
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


def read(
    source: Any,
    input: Any = None,
    *,
    values: Mapping[str, Any] | None = None,
    structure_only: bool = False,
) -> Network:
    """The network that `source` holds, at the sizes that `input` gives.

    `source` is a `torch.nn.Module`, a `torch.export.ExportedProgram`, a Keras 3 model, a JAX
    function or Flax module, a path to an `.onnx` file, an `onnx.ModelProto`, `"zoo:NAME"`,
    `"stack:..."`, a model that an installed library has under a name (`"timm:NAME"`,
    `"torchvision:NAME"`, `"smp:NAME"`, with arguments as `"timm:resnet18?output_stride=8"`) or a
    `Network`. `input` is a shape with batch and channels, a tuple of shapes, or example tensors; of
    an ONNX file also a mapping from names of inputs to shapes and of open dimensions to sizes, as
    `{"x": (1, 1, 512), "state": (2, 1, 128)}` or
    `{"batch": 4}`. `values` has, by name, numbers for inputs of an ONNX file that decide what it
    runs, as `{"sr": 16000}`; such an input is a constant.

    Taps whose weight is 0 for all channels (masked, pruned) are not read; with `structure_only`
    no weight is looked at. Raises `ReadError` for a source that is
    none of these or cannot be read, `UnknownNameError` for a name that no known network has.

    >>> print(read("stack:k3s2x8 k3x8", (1, 3, 32, 32)))
    k3s2x8 k3x8: 2 nodes, input x 1x3x32x32, 792 parameters, 202,752 MACs
    """
    return _read_near(source, input, values, structure_only, eager=True)


def read_unrun(
    source: Any,
    input: Any = None,
    *,
    values: Mapping[str, Any] | None = None,
    structure_only: bool = False,
) -> Network:
    """The same, without what a module's run holds (`Network.eager`), in half the time.

    Attention that a module's code writes out is one operation, with the window of its mask.

    >>> read_unrun("stack:k3").eager is None
    True
    """
    return _read_near(source, input, values, structure_only, eager=False)


def _read_near(
    source: Any,
    input: Any,
    values: Mapping[str, Any] | None,
    structure_only: bool,
    *,
    eager: bool,
) -> Network:
    try:
        return _read(source, input, values, structure_only, eager=eager)
    except (NetworkError, GeometryError) as error:
        if is_shape(input):
            error.args = (_with_near(str(error.args[0]), source, as_shape(input), values),)
        raise


def made_of(source: Any) -> tuple[Any, Any]:
    """A source with no input, or the model that a library has under that name, and its usual one.

    The path of a `.keras` file stands for the model that it holds.

    >>> made_of("zoo:resnet50")
    ('zoo:resnet50', None)
    """
    kind = kind_of(source)
    if kind == "keras" and isinstance(source, str | os.PathLike):
        from atrous.readers.keras.file import load_keras

        return load_keras(source), None
    if kind != "library":
        return source, None
    found = make(parse(source))
    return found.model, found.input


def sized(source: Any, input: Any) -> Any:
    """The source; of a module with lazy layers a copy whose sizes are those that `input` gives it.

    Whoever looks at a module more than once begins here, so that it always sees the same weights.
    Raises `ReadError` where the module does not run on `input`.
    """
    if kind_of(source) != "module":
        return source
    from atrous.readers.torch.inputs import with_sizes

    return with_sizes(source, input, type(source).__name__)


def _with_near(
    message: str, source: Any, shape: tuple[int, ...], values: Mapping[str, Any] | None
) -> str:
    """What a network says of a size that it does not take, and sizes near it that it takes."""

    def runs(other: tuple[int, ...]) -> bool:
        try:
            found = _read(source, other, values, True, eager=False)
        except AtrousError:
            return False
        return not any("the file says" in note for note in found.notes)

    near = near_words(shape, lambda step, up: rounded(shape, step, up=up), runs)
    return f"{message.rstrip('.')}{near}." if near else message


def _read(
    source: Any,
    input: Any,
    values: Mapping[str, Any] | None,
    structure_only: bool,
    *,
    eager: bool,
) -> Network:
    kind = kind_of(source)
    if kind == "unknown" or (kind == "file" and not str(source).endswith(_ONNX)):
        found = _read_by_extension(source, input)
        if found is not None:
            return structural(found) if structure_only else found
    if values and kind not in ("file", "message"):
        raise ReadError("values=... gives numbers to inputs of an ONNX file; leave it out.")
    if kind == "network":
        _check_sizes(source, input)
        return structural(source) if structure_only else source
    if kind == "zoo":
        from atrous.network import zoo

        return zoo.build(source.partition(":")[2], _one_shape(source, input))
    if kind == "stack":
        from atrous.network.stack import stack_network

        shape = _one_shape(source, input) or STACK_INPUT
        return stack_network(source.partition(":")[2], shape)
    if kind == "library":
        return read_named(source, input, weights=not structure_only, eager=eager)
    if kind == "file":
        return _read_onnx(_file(source), input, values, not structure_only)
    if kind == "message":
        return _read_onnx(source, input, values, not structure_only)
    if kind in ("module", "program"):
        from atrous.readers.torch.reader import read_torch

        return read_torch(source, input, weights=not structure_only, eager=eager, joined=not eager)
    if kind == "keras":
        model, _ = made_of(source)
        from atrous.readers.keras.reader import read_keras

        return read_keras(model, input, weights=not structure_only)
    if kind == "jax" or (kind == "unknown" and callable(source) and "jax" in sys.modules):
        from atrous.readers.jax.reader import read_jax

        return read_jax(source, input, weights=not structure_only)
    raise ReadError(
        f"{what_it_is(source)} is no source: give a torch.nn.Module, an ExportedProgram, a "
        "Keras model, a JAX function or Flax module, an onnx.ModelProto, the path of an .onnx "
        "file, zoo:NAME, timm:NAME, torchvision:NAME, smp:NAME, stack:... or a Network."
    )


def _read_by_extension(source: Any, input: Any) -> Network | None:
    """What the first reader of another package makes that knows the source."""
    for owner, reader in extensions("atrous.readers"):
        with guarded(owner, f"its reader, on a {type(source).__name__}", (AtrousError,)):
            found = reader(source, input)
            if isinstance(found, Network):
                return found
    return None


def _file(source: str | os.PathLike[str]) -> Path:
    """The path that a source names; a `ReadError` where it can be none."""
    text = os.fspath(source)
    if not text.strip():
        raise ReadError("the source is empty: give the path of an .onnx file, or zoo:NAME.")
    if _ADDRESS.match(text):
        raise ReadError(f"{text} is an address: download the file, and give its path.")
    path = Path(source)
    if path.suffix in _ONNX or is_there(path):
        return path
    if is_there(path.parent) and path.is_symlink():
        raise ReadError(f"{text}: {missing_file(path)}")
    if path.name != text or path.suffix:
        raise ReadError(f"{text}: {missing_file(path)}")
    raise ReadError(
        f"{text!r} is no source: give the path of an .onnx file, zoo:NAME "
        "(`atrous zoo` lists them), timm:NAME, torchvision:NAME, smp:NAME, or stack:..."
    )


def check_file(source: str | os.PathLike[str]) -> None:
    """Raise `ReadError` for a path that leads to no ONNX file, without reading it whole."""
    path = _file(source)
    with concerning(name_of(path)):
        if not is_there(path):
            raise ReadError(missing_file(path))
        known = "" if path.is_dir() or path.suffix in _ONNX else foreign_file(path)
        if known:
            raise ReadError(known)


def _check_sizes(network: Network, input: Any) -> None:
    """Raise `ReadError` where a network is asked for at other sizes than it has."""
    if input is None:
        return
    given = list(shapes_of(input))
    held = [tensor.shape for tensor in network.inputs]
    if given != held:
        raise ReadError(
            f"the network is read at {held}, not at {given}; read its source again at those sizes."
        )


def _read_onnx(source: Any, input: Any, values: Mapping[str, Any] | None, weights: bool) -> Network:
    from atrous.readers.onnx.reader import read_onnx

    return read_onnx(source, input, values, weights=weights)


def _one_shape(source: str, input: Any) -> tuple[int, ...] | None:
    """The shape of the only input."""
    if input is None:
        return None
    with concerning(source):
        if isinstance(input, Mapping):
            raise ReadError("it has one input; give its shape alone, without a name.")
        if isinstance(input, list | tuple) and not is_shape(input):
            if len(input) != 1:
                raise ReadError(f"it has one input, and {len(input)} shapes were given; give one.")
            return as_shape(input[0])
        return as_shape(input)
