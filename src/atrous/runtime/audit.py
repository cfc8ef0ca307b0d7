"""Audits: a certificate of what somebody else converted."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from atrous.convert.certificate import Certificate
from atrous.errors import ReadError
from atrous.network import Network
from atrous.network.folded_pads import folded
from atrous.network.shapes import Shapes
from atrous.readers import SCHEMES, read
from atrous.readers.given import as_shape, is_shape
from atrous.runtime.certify import Pair, certify
from atrous.runtime.conversion import NetworkPair, beside, output_names, small_enough

__all__ = ["audit_sources"]

Kind = Literal["torch", "onnx", "network"]


def audit_sources(
    reference: Any,
    candidate: Any,
    *,
    input: Any = None,
    outputs: str | Sequence[str] | None = None,
) -> Certificate:
    """See `atrous.audit`."""
    names = output_names(outputs)
    (one, usual), (two, _) = _made(reference), _made(candidate)
    given = usual if input is None else input
    kinds = _kind(one), _kind(two)
    titles = _title(reference, "reference"), _title(candidate, "candidate")
    pair: Pair
    if kinds == ("torch", "torch"):
        from atrous.runtime.torch_pair import TorchPair

        if given is None:
            raise ReadError("a module does not say what it takes; give input=(1, 3, 224, 224).")
        pair = TorchPair(one, two, names)
        shapes = _shapes(given)
    elif kinds == ("onnx", "onnx"):
        from atrous.runtime.onnx_pair import OnnxPair

        network = read(one, given)
        pair = OnnxPair(one, two, names)
        shapes = tuple(t.shape for t in network.inputs)
    else:
        if kinds[0] != kinds[1]:
            raise ReadError(
                f"the reference is of the kind {kinds[0]} and the candidate of the kind "
                f"{kinds[1]}; an audit compares two of one kind, with the same parameters by name."
            )
        networks = folded(read(one, given)), folded(read(two, given))
        pair = NetworkPair(*networks)
        shapes = tuple(t.shape for t in networks[0].inputs)
    if isinstance(pair, NetworkPair):
        return certify(pair, shapes, (), names, titles=titles)
    here = pair.networks(shapes)
    at = small_enough(shapes, *here)
    others = beside(at, here[0].inputs) if kinds[0] == "torch" else []
    if at != shapes:
        others = [at, *others]
    return certify(pair, shapes, others, names, run=at == shapes, titles=titles)


def _made(source: Any) -> tuple[Any, Any]:
    if isinstance(source, str) and source.partition(":")[0] in SCHEMES:
        from atrous.readers.named import make, parse

        made = make(parse(source))
        return made.model, made.input
    return source, None


def _kind(source: Any) -> Kind:
    if isinstance(source, Network):
        return "network"
    if isinstance(source, str | os.PathLike):
        scheme = os.fspath(source).partition(":")[0]
        if scheme in ("zoo", "stack"):
            return "network"
        if not Path(source).exists():
            read(source)  # says what a source is
        return "onnx"
    kinds = {base.__module__.partition(".")[0] for base in type(source).__mro__}
    if "onnx" in kinds:
        return "onnx"
    if "torch" in kinds and hasattr(source, "named_modules"):
        return "torch"
    if "torch" in kinds:
        return "network"
    read(source)
    raise ReadError(f"a {type(source).__name__} cannot be audited.")


def _title(source: Any, other: str) -> str:
    if isinstance(source, str | os.PathLike):
        return os.fspath(source)
    return f"{other} ({type(source).__name__})"


def _shapes(input: Any) -> Shapes:
    if is_shape(input) or not isinstance(input, list | tuple):
        return (as_shape(input),)
    return tuple(as_shape(shape) for shape in input)
