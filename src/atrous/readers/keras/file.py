"""Loads a `.keras` file without trusting it: no code of its own is run."""

from __future__ import annotations

import os
import sys
import zipfile
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from atrous.errors import MissingDependencyError, ReadError
from atrous.readers.foreign import missing_file

__all__ = ["load_keras"]

_LEAST = (3, 12)
"""The first release whose safe mode is not known to let files run code."""
_LARGEST = {"config.json": 1 << 26, "metadata.json": 1 << 20, "model.weights.h5": 1 << 33}
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
    _check_archive(file)
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
    try:
        return keras.saving.load_model(file, compile=False, safe_mode=True)
    except Exception as error:
        text = " ".join(str(error).split())[:300]
        raise ReadError(
            f"{file.name}: Keras does not load it without running code of the file's own, or it is "
            f"damaged: {text} Make the model in Python and give that, as MODULE:FUNCTION on the "
            "command line."
        ) from error


def _check_archive(file: Path) -> None:
    """Raise `ReadError` unless the file is an archive of what Keras saves, of sizes that may be."""
    try:
        with zipfile.ZipFile(file) as archive:
            sizes = {member.filename: member.file_size for member in archive.infolist()}
    except (zipfile.BadZipFile, OSError, ValueError):
        raise ReadError(
            f"{file.name}: is no .keras file, which are zip archives; save it anew."
        ) from None
    if "config.json" not in sizes:
        raise ReadError(f"{file.name}: holds no config.json, as .keras files do; save it anew.")
    for name, size in sizes.items():
        most = _LARGEST.get(name, _LARGEST["model.weights.h5"])
        if size > most:
            raise ReadError(
                f"{file.name}: its {name} is {size:,} bytes long; at most {most:,} are read."
            )


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
