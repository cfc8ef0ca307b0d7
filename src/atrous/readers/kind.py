"""What kind of source a thing is, told without importing a framework that it does not come from."""

from __future__ import annotations

import inspect
import sys
from functools import partial
from os import PathLike, fspath
from pathlib import PurePath
from typing import Any, Literal

from atrous.network import Network
from atrous.readers.named import SCHEMES

__all__ = ["Kind", "kind_of", "source_name", "what_it_is"]

_LONGEST = 60

Kind = Literal[
    "network",
    "zoo",
    "stack",
    "library",
    "file",
    "message",
    "module",
    "program",
    "keras",
    "jax",
    "unknown",
]
"""A `Network`; `zoo:NAME`; `stack:...`; a model that a library has under a name; what may be the
path of a file; an `onnx.ModelProto`; a `torch.nn.Module`; another thing of PyTorch's, such as an
`ExportedProgram`; a Keras model, layer
or `.keras` file; a Flax module, or a function where JAX is imported; none of these."""


def kind_of(source: Any) -> Kind:
    """What `source` is, by what it looks like: nothing is opened.

    >>> kind_of("zoo:resnet50"), kind_of("timm:resnet18?output_stride=8"), kind_of("net.onnx")
    ('zoo', 'library', 'file')
    >>> kind_of("net.keras")
    'keras'
    """
    if isinstance(source, Network):
        return "network"
    if isinstance(source, str):
        scheme, colon, _ = source.partition(":")
        if colon and scheme == "zoo":
            return "zoo"
        if colon and scheme == "stack":
            return "stack"
        if colon and scheme in SCHEMES:
            return "library"
    if isinstance(source, str | PathLike):
        return "keras" if fspath(source).endswith(".keras") else "file"
    # Under Keras' own torch backend its layers are modules as well.
    if _is_from("keras", source) and hasattr(source, "count_params"):
        return "keras"
    if _is_from("torch", source):
        is_module = hasattr(source, "named_modules") and hasattr(source, "state_dict")
        return "module" if is_module else "program"
    if _is_from("onnx", source):
        return "message"
    return "jax" if _is_of_jax(source) else "unknown"


def _is_of_jax(source: Any) -> bool:
    """Whether it is a module of Flax, or a function that JAX could trace: it is imported then."""
    if "jax" not in sys.modules:
        return False
    if _is_from("flax", source) or _is_from("jaxlib", source):
        return callable(source)
    return inspect.isroutine(source) or isinstance(source, partial)


def what_it_is(value: Any) -> str:
    """A value by its class, as a message calls it.

    >>> what_it_is(None), what_it_is(int), what_it_is(3), what_it_is([])
    ('None', 'the class int', 'an int', 'a list')
    """
    if value is None:
        return "None"
    if isinstance(value, type):
        return f"the class {value.__name__}"
    name = type(value).__name__
    return f"{'an' if name[0] in 'aeioAEIO' else 'a'} {name}"


def source_name(source: Any) -> str:
    """A source as a message calls it: a path or text by itself, cut where it is long.

    >>> source_name("net.onnx"), source_name(3)
    ('net.onnx', 'an int')
    """
    if isinstance(source, str | PathLike):
        name = fspath(source)
        return name if len(name) <= _LONGEST else PurePath(name).name[:_LONGEST]
    return what_it_is(source)


def _is_from(framework: str, source: Any) -> bool:
    # An object of a framework's class exists only where that framework is imported already.
    return framework in sys.modules and any(
        base.__module__.partition(".")[0] == framework for base in type(source).__mro__
    )
