"""Loads a `.keras` file without trusting it: no code of its own is run, and sizes are bounded.

What the file says of its layers is looked at first, then they are made without their weights and
counted, and only then does Keras load it.
"""

from __future__ import annotations

import json
import os
import sys
import zipfile
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from math import prod
from pathlib import Path, PurePosixPath
from typing import Any

from atrous.errors import MissingDependencyError, ReadError
from atrous.readers.foreign import missing_file
from atrous.readers.placed import itemsize_of

__all__ = ["load_keras"]

_LEAST = (3, 12)
"""The first release whose safe mode is not known to let files run code."""
_LARGEST = {"config.json": 1 << 24, "metadata.json": 1 << 20, "model.weights.h5": 1 << 33}
_MEMBERS, _ASSETS = 10_000, 1 << 30
_PLAIN, _SMALLER = 1 << 26, 100
"""What a member may unpack to whatever its packed size, and how many times that size."""
_DEEPEST = 200
_SLACK = 1 << 24
"""Bytes of weights that a file need not hold, for what Keras makes by itself."""
_OWN = ("keras", "builtins", "keras_hub", "keras_cv", "keras_nlp")
_BACKENDS = ("tensorflow", "jax", "torch")


def load_keras(path: str | os.PathLike[str]) -> Any:
    """The model of a `.keras` file, without its optimizer and loss.

    Keras loads it in its safe mode, which refuses functions that are stored in the file. Raises
    `ReadError` for what is no such file, holds more than one may, or is refused, and
    `MissingDependencyError` where Keras is not installed, or is too old for files one did not make.
    """
    file = Path(path)
    try:
        stat = file.stat()
    except OSError:
        raise ReadError(f"{file.name}: {missing_file(file)}") from None
    return _loaded(file, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=1)
def _loaded(file: Path, _changed: int, _size: int) -> Any:
    config, held = _unpacked(file)
    _check_keras(file)
    if "keras" not in sys.modules and "KERAS_BACKEND" not in os.environ:
        # Keras would ask for TensorFlow, wherever nobody has said otherwise.
        installed = [name for name in _BACKENDS if find_spec(name) is not None]
        if installed:
            os.environ["KERAS_BACKEND"] = installed[0]
    try:
        import keras
    except ImportError as error:
        raise MissingDependencyError(f"{file.name}: Keras does not start: {error}") from None
    _check_config(file, config)
    try:
        largest, size = _weights_of(config)
        if size > held + _SLACK:
            raise ReadError(
                f"{file.name}: its layers have {size:,} bytes of weights ({largest}), and its "
                f"model.weights.h5 is {held:,} bytes long; it is damaged, or was made to fill the "
                "memory."
            )
        return keras.saving.load_model(file, compile=False, safe_mode=True)
    except ReadError:
        raise
    except Exception as error:
        text = " ".join(str(error).split())[:300]
        raise ReadError(
            f"{file.name}: Keras does not load it without running code of the file's own, or it is "
            f"damaged: {text} Make the model in Python and give that, as MODULE:FUNCTION on the "
            "command line."
        ) from error


def _unpacked(file: Path) -> tuple[Any, int]:
    """What the file says of its layers, and how many bytes of weights it holds.

    Raises `ReadError` unless it is an archive of what Keras saves, of sizes that may be.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
            sizes = {member.filename: member.file_size for member in members}
            _check_members(file, members, sizes)
            text = archive.read("config.json")
    except ReadError:
        raise
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, RuntimeError):
        raise ReadError(
            f"{file.name}: is no .keras file, which are zip archives; save it anew."
        ) from None
    try:
        config = json.loads(text)
    except (ValueError, RecursionError):
        raise ReadError(
            f"{file.name}: its config.json is no JSON, or nested beyond any model."
        ) from None
    return config, sizes.get("model.weights.h5", 0)


def _check_members(file: Path, members: list[zipfile.ZipInfo], sizes: dict[str, int]) -> None:
    """Raise `ReadError` for members that Keras does not write, or that are larger than may be."""
    if "config.json" not in sizes:
        raise ReadError(f"{file.name}: holds no config.json, as .keras files do; save it anew.")
    if len(members) > _MEMBERS or len(members) != len(sizes):
        raise ReadError(f"{file.name}: holds {len(members):,} files, or two of one name.")
    for member in members:
        name, size = member.filename, member.file_size
        if size > max(_PLAIN, _SMALLER * member.compress_size):
            raise ReadError(
                f"{file.name}: its {name[:80]} unpacks to {size:,} bytes; it is a bomb."
            )
        path = PurePosixPath(name.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts or ":" in path.parts[0]:
            raise ReadError(f"{file.name}: its member {name[:80]!r} points outside the archive.")
    assets = sum(size for name, size in sizes.items() if name not in _LARGEST)
    held = {**{name: sizes.get(name, 0) for name in _LARGEST}, "assets": assets}
    for name, size in held.items():
        if size > (most := _LARGEST.get(name, _ASSETS)):
            raise ReadError(
                f"{file.name}: its {name} is {size:,} bytes long; at most {most:,} are read."
            )


def _check_config(file: Path, config: Any) -> None:
    """Raise `ReadError` for a layer that is code of the file's own, or of a class not at hand."""
    from keras.saving import get_registered_object

    waiting: list[tuple[Any, str, int]] = [(config, "the model", 0)]
    while waiting:
        value, layer, depth = waiting.pop()
        if depth > _DEEPEST:
            raise ReadError(f"{file.name}: {layer} is nested more than {_DEEPEST} deep.")
        if isinstance(value, dict):
            kind, inside = value.get("class_name"), value.get("config")
            if isinstance(kind, str) and isinstance(inside, dict):
                layer = str(inside.get("name") or layer)[:80]
            why = _foreign(value, kind, get_registered_object)
            if why:
                raise ReadError(
                    f"{file.name}: {layer} {why}. Make the model in Python and give that, as "
                    "MODULE:FUNCTION on the command line."
                )
            waiting += [(part, layer, depth + 1) for part in value.values()]
        elif isinstance(value, list):
            waiting += [(part, layer, depth + 1) for part in value]


def _foreign(value: dict[str, Any], kind: Any, registered: Any) -> str:
    """What an object of a config is that is no object of Keras' own; empty for one that is."""
    if not isinstance(kind, str):
        return ""
    module, name = value.get("module"), value.get("registered_name")
    if isinstance(name, str) and registered(name) is not None:
        return ""
    if kind in ("Lambda", "__lambda__"):
        return f"is code inside the file ({kind}), which is not run"
    if isinstance(module, str) and module.partition(".")[0] not in _OWN:
        return f"is a {kind[:80]} of {module[:80]}, which is not Keras' own, and is not imported"
    if module is None and isinstance(name, str) and ">" in name:
        return f"is a {name[:80]}, a class that is not registered here"
    return ""


def _weights_of(config: Any) -> tuple[str, int]:
    """The largest weight of the layers of a config, in words, and the bytes of all of them.

    The layers are made without their numbers.
    """
    import keras
    from keras.src.backend.common import global_state

    waiting = "uninitialized_variables"
    before = list(global_state.get_global_attribute(waiting) or ())
    try:
        with keras.StatelessScope(initialize_variables=False):
            model = keras.saving.deserialize_keras_object(
                {**config, "compile_config": None}, safe_mode=True
            )
    finally:
        global_state.set_global_attribute(waiting, before)
    largest, most, total = "none", 0, 0
    for weight in getattr(model, "weights", ()):
        size = prod(weight.shape) * itemsize_of(str(weight.dtype))
        total += size
        if size > most:
            shape = "x".join(map(str, weight.shape))
            largest, most = f"{weight.path} is {shape}", size
    return largest, total


def _check_keras(file: Path) -> None:
    """Raise `MissingDependencyError` unless Keras is installed and its safe mode holds."""
    try:
        held = version("keras")
    except PackageNotFoundError:
        raise MissingDependencyError(
            f"{file.name}: reading it needs Keras: pip install 'atrous[keras]'; or convert it "
            "to .onnx first."
        ) from None
    numbers = tuple(int(part) for part in held.split(".")[:2] if part.isdigit())
    if numbers < _LEAST:
        raise MissingDependencyError(
            f"{file.name}: Keras {held} may run code from files; pip install 'keras>=3.12', or "
            "load it yourself and give the model."
        )
