"""`audit`: a certificate of what somebody else converted."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Literal

from atrous.certification.certificate import Certificate
from atrous.certification.certify import Pair, certify
from atrous.certification.network_pair import NetworkPair
from atrous.errors import ReadError
from atrous.network.folded_pads import folded
from atrous.readers import read
from atrous.readers.given import examples_of, output_names, shapes_of
from atrous.readers.kind import kind_of
from atrous.readers.source import made_of, sized

__all__ = ["audit"]


def audit(
    reference: Any, candidate: Any, *, input: Any = None, outputs: str | Sequence[str] | None = None
) -> Certificate:
    """What `candidate`, converted from `reference` by somebody, has in common with it.

    Both are sources as for `inspect`, of one kind and with the same parameters by name; `input` is
    the shape at which they are compared (and at one beside it, whose maps are odd where those of
    the first are even). For each output, or layer that `outputs` names: how many positions the
    candidate has for each one of the reference, at which phase they hold the same, the margin and
    the error, and the verdict; `causes` names first the layer that is at fault, and what it should
    be. Whatever can be run is run; `state` says whether the verdict rests on that. A size that the
    models refuse is noted, and another one taken.

    Raises `ReadError` where the two do not have the same parameters or outputs.

    >>> import atrous
    >>> found = atrous.audit("stack:k3s2 k3 k3", "stack:k3 k3d2 k3", input=(1, 64, 64, 64))
    >>> found.verdict, found.causes[0].layer, found.causes[0].why.partition(";")[0]
    ('broken', 'conv3', 'rate 1, padding 1')
    """
    names = output_names(outputs)
    (one, usual), (two, _) = made_of(reference), made_of(candidate)
    given = usual if input is None else input
    kinds = _framework(one), _framework(two)
    titles = _title(reference, "reference"), _title(candidate, "candidate")
    pair: Pair
    if kinds == ("torch", "torch"):
        from atrous.certification.torch_pair import TorchPair

        if given is None:
            given = _inputs_of_program(one)
        if given is None:
            raise ReadError("a module does not say what it takes; give input=(1, 3, 224, 224).")
        one, two = sized(one, given), sized(two, given)
        pair = TorchPair(one, two, names, like=examples_of(given))
        shapes = shapes_of(given)
    elif kinds == ("onnx", "onnx"):
        from atrous.certification.onnx_pair import OnnxPair

        network = read(one, given, structure_only=True)
        pair = OnnxPair(one, two, names)
        shapes = tuple(t.shape for t in network.inputs)
    elif kinds == ("keras", "keras"):
        from atrous.certification.keras_pair import KerasPair
        from atrous.writers.keras.model import graph_up_to

        if names is not None:
            one, two = graph_up_to(one, names), graph_up_to(two, names)
            names = None
        shapes = tuple(t.shape for t in read(one, given, structure_only=True).inputs)
        pair = KerasPair(one, two)
    else:
        if kinds[0] != kinds[1]:
            raise ReadError(
                f"the reference is of the kind {kinds[0]} and the candidate of the kind "
                f"{kinds[1]}; an audit compares two of one kind, with the same parameters by name."
            )
        read_one = read(one, given, structure_only=True)
        networks = folded(read_one), folded(read(two, given, structure_only=True))
        pair = NetworkPair(*networks)
        shapes = tuple(t.shape for t in networks[0].inputs)
    return certify(pair, shapes, names, titles=titles)


def _inputs_of_program(source: Any) -> Any:
    """The inputs that a program was exported with; None for a module."""
    held = getattr(source, "example_inputs", None)
    return list(held[0]) if held else None


def _framework(source: Any) -> Literal["torch", "onnx", "keras", "network"]:
    """What runs a source; nothing runs a network that is data."""
    kind = kind_of(source)
    if kind in ("module", "program"):
        return "torch"
    if kind in ("network", "zoo", "stack"):
        return "network"
    if kind == "file" and not os.path.exists(source):  # noqa: PTH110 - a path of any kind
        read(source)  # says what a source is
    if kind in ("file", "message"):
        return "onnx"
    if kind == "keras":
        return "keras"
    if kind == "jax":
        raise ReadError(
            "JAX functions are inspected and not audited: two of them share no names of layers; "
            "audit the PyTorch or ONNX models that they are the twins of."
        )
    read(source)
    raise ReadError(f"a {type(source).__name__} cannot be audited.")


def _title(source: Any, other: str) -> str:
    if isinstance(source, str | os.PathLike):
        return os.fspath(source)
    return f"{other} ({type(source).__name__})"
