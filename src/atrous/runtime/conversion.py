"""Conversions from end to end: read, plan, rewrite, read again, certify."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from atrous.analysis import Finding, inspect_network
from atrous.convert.asked import Asked, coarsest, plan_for
from atrous.convert.edits import Edit
from atrous.convert.network_edits import network_edits
from atrous.convert.records import Heads, Plan
from atrous.errors import ReadError, UnsupportedError
from atrous.geometry import Tail
from atrous.network import Network, Tensor
from atrous.network.folded_pads import folded
from atrous.network.ops import Conv
from atrous.network.shapes import Shapes
from atrous.readers import SCHEMES, read
from atrous.readers.given import as_shape, is_shape
from atrous.refusal import Refusal
from atrous.runtime.certify import Pair, Weights, certify
from atrous.runtime.converted import Conversion

__all__ = [
    "NetworkPair",
    "beside",
    "certified",
    "convert_source",
    "small_enough",
]

# Multiply-accumulates of one run in float64 that take a few seconds on two cores.
_BUDGET = 25e9
_GROUPED = 20


def output_names(outputs: Any) -> tuple[str, ...] | None:
    """The names that `outputs` gives; None for all. Raises `ReadError` for what is no name."""
    if outputs is None:
        return None
    names = (outputs,) if isinstance(outputs, str) else outputs
    if (
        not isinstance(names, list | tuple)
        or not names
        or not all(isinstance(name, str) and name for name in names)
    ):
        raise ReadError(f"outputs is {outputs!r}: give names of outputs or layers, or none.")
    return tuple(names)


def convert_source(
    source: Any,
    output_stride: int | Sequence[int],
    *,
    input: Any = None,
    outputs: str | Sequence[str] | None = None,
    heads: Heads = "scale",
    tail: Tail = "crop",
    resample: bool = False,
    measure: bool = True,
) -> Conversion:
    """See `atrous.convert`."""
    if heads not in ("scale", "keep"):
        raise ReadError(f"heads is {heads!r}: use 'scale' or 'keep'.")
    if tail not in ("crop", "keep"):
        raise ReadError(f"tail is {tail!r}: use 'crop' or 'keep'.")
    names = output_names(outputs)
    wanted = names
    asked = Asked(output_stride, wanted, heads, tail, measure, resample)
    if isinstance(source, str) and source.partition(":")[0] in SCHEMES:
        from atrous.readers.named import make, parse

        made = make(parse(source))
        return _torch(made.model, made.input if input is None else input, asked)
    if isinstance(source, Network) or (
        isinstance(source, str) and source.partition(":")[0] in ("zoo", "stack")
    ):
        return _network(read(source, input), asked)
    if isinstance(source, str | os.PathLike):
        from atrous.runtime.onnx_conversion import convert_onnx

        return convert_onnx(Path(source), input, asked)
    kinds = {base.__module__.partition(".")[0] for base in type(source).__mro__}
    if "onnx" in kinds:
        from atrous.runtime.onnx_conversion import convert_onnx

        return convert_onnx(source, input, asked)
    import_torch = "torch" in kinds
    if import_torch and hasattr(source, "state_dict") and hasattr(source, "named_modules"):
        return _torch(source, input, asked)
    if import_torch:
        raise UnsupportedError(
            f"a {type(source).__name__} cannot be converted; convert the module that it was "
            "exported from, and export that."
        )
    read(source, input)  # says what a source is
    raise UnsupportedError(f"a {type(source).__name__} cannot be converted.")


def _shapes(input: Any, network: Network | None = None) -> Shapes:
    if input is None:
        assert network is not None
        return tuple(tensor.shape for tensor in network.inputs)
    if is_shape(input) or not isinstance(input, list | tuple):
        return (as_shape(input),)
    return tuple(as_shape(shape) for shape in input)


def beside(shapes: Shapes, inputs: Sequence[Tensor]) -> list[Shapes]:
    """Input shapes that divide where the given ones do not: one position more along each axis."""
    found = tuple(
        tuple(
            size + 1 if any(atom.axis for atom in dim) else size
            for dim, size in zip(tensor.layout, shape, strict=True)
        )
        for tensor, shape in zip(inputs, shapes, strict=True)
    )
    return [found] if found != shapes else []


def _work(network: Network) -> int:
    """Multiply-accumulates; grouped convolutions count as slow as they are in float64."""
    return sum(
        node.macs * (_GROUPED if isinstance(node.op, Conv) and node.op.groups > 1 else 1)
        for node in network.nodes
    )


def small_enough(shapes: Shapes, reference: Network, candidate: Network) -> Shapes:
    """The given shapes, or smaller ones where a run in float64 would take long.

    Smaller ones divide by the coarsest stride as the given ones do.
    """
    macs = max(_work(reference), _work(candidate))
    axes = max((len(t.grid) for t in reference.inputs), default=0)
    if macs <= _BUDGET or not axes:
        return shapes
    scale = (_BUDGET / macs) ** (1 / axes)
    both = (*coarsest(reference).values(), *coarsest(candidate).values())
    step = int(max(both, default=Fraction(1)))
    return tuple(
        tuple(
            min(max(math.ceil(size * scale / step), 2) * step + size % step, size)
            if any(atom.axis for atom in dim)
            else size
            for dim, size in zip(tensor.layout, shape, strict=True)
        )
        for tensor, shape in zip(reference.inputs, shapes, strict=True)
    )


def _torch(model: Any, input: Any, asked: Asked) -> Conversion:
    from atrous.readers.torch.reader import read_torch
    from atrous.runtime.rewrite_torch import rewrite_torch
    from atrous.runtime.torch_pair import TorchPair

    whole = folded(read_torch(model, input))
    plan = plan_for(whole, asked)
    done = rewrite_torch(model, plan)
    if isinstance(done, Refusal):
        raise done.error()
    made, edits = done
    shapes = _shapes(input)
    notes: tuple[str, ...] = ()
    try:
        after = folded(read_torch(made, shapes))
    except ReadError as error:
        if asked.names is None or not _runs_up_to(made, asked.names, shapes):
            raise _unfit(error).error() from error
        after = plan.candidate
        text = (
            "what lies behind the converted part does not take its larger maps, so the whole model "
            "no longer runs; take the part (the structure is that of the plan)"
        )
        notes = (text,)
    weights: tuple[Weights, ...] = ("drawn", "own")
    pair = TorchPair(model, made, asked.names, weights=weights)
    pair.known(shapes, (whole, after))
    return certified(
        made, replace(plan, notes=(*plan.notes, *notes)), edits, pair, shapes, asked, after
    )


def _unfit(error: ReadError) -> Refusal:
    return Refusal(
        "code",
        "",
        "the model's own code does not take maps of the new size; convert the part before the "
        f"layer that fails (outputs=...): {error}",
    )


def _runs_up_to(model: Any, names: Sequence[str], shapes: Shapes) -> bool:
    from atrous.runtime.measure_torch import Runner, random_inputs

    try:
        Runner(model, names).run(random_inputs(shapes))
    except (ReadError, RuntimeError):
        return False
    return True


def _network(network: Network, asked: Asked) -> Conversion:
    plan = plan_for(network, asked)
    pair = NetworkPair(plan.reference, plan.candidate)
    edits = network_edits(plan)
    shapes = tuple(t.shape for t in network.inputs)
    return certified(plan.candidate, plan, edits, pair, shapes, asked, plan.candidate)


class NetworkPair:
    """Two networks as data: there is nothing to run."""

    precision = "not run: a network as data has no weights"
    weights: tuple[Weights, ...] = ("own",)

    def __init__(self, reference: Network, candidate: Network) -> None:
        self.both = reference, candidate

    def networks(self, shapes: Shapes) -> tuple[Network, Network]:  # noqa: ARG002 - a protocol
        """The two networks, whose sizes are set."""
        return self.both

    def arrays(self, *_: Any) -> None:
        """Nothing can be run."""

    def first_difference(self, *_: Any) -> None:
        """Nothing can be run."""


def certified(
    made: Any,
    plan: Plan,
    edits: tuple[Edit, ...],
    pair: Pair,
    shapes: Shapes,
    asked: Asked,
    after: Network,
    sizes: Sequence[Shapes] | None = None,
) -> Conversion:
    """The conversion of a model that is made, with its certificate; `after` is it as a network.

    `sizes` are further input shapes to compare at; those beside the given one, if left out.
    """
    notes = list(plan.notes)
    at = shapes
    others: list[Shapes] = []
    if not asked.measure:
        pair = NetworkPair(plan.reference, folded(after))
        pair.precision = "not run, as asked"
    elif sizes is not None:
        others = list(sizes)
    elif not isinstance(pair, NetworkPair):
        # Runs at the given size, or at a smaller one where that would take long.
        at = small_enough(shapes, plan.reference, plan.candidate)
        others = beside(at, plan.reference.inputs)
        if at != shapes:
            others = [at, *others]
    certificate = certify(pair, shapes, others, asked.names, run=at == shapes, notes=notes)
    if certificate.verdict == "broken" and asked.heads != "keep" and asked.tail != "keep":
        cause = next(iter(certificate.causes), None)
        raise Refusal(
            "certificate",
            "" if cause is None else cause.layer,
            "the result would compute something else: "
            f"{'the outputs differ' if cause is None else cause.why}; convert the part before it "
            "(outputs=...).",
        ).error()
    return Conversion(
        made,
        certificate,
        edits,
        plan.direction,
        plan.target,
        plan.heads,
        _worth_saying(after),
        tuple(notes),
        (plan.reference, after),
    )


def _worth_saying(network: Network) -> tuple[Finding, ...]:
    return tuple(f for f in inspect_network(network).findings if f.code == "aspp-center")
