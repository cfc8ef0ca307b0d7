"""A conversion that is made, with its certificate; and at which sizes two models are compared."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from atrous.analysis import Finding, inspect_network
from atrous.certification.certify import Pair, certify
from atrous.certification.conversion import Conversion
from atrous.certification.network_pair import NetworkPair
from atrous.conversion.edits import Edit
from atrous.conversion.plan import Plan
from atrous.conversion.request import ConversionRequest, coarsest
from atrous.network import Network, Tensor
from atrous.network.folded_pads import folded
from atrous.network.ops import Conv
from atrous.network.shapes import Shapes
from atrous.refusal import Refusal

__all__ = ["beside", "certified", "small_enough"]

# Multiply-accumulates of one run in float64 that take a few seconds on two cores.
_BUDGET = 25e9
_GROUPED = 20


def certified(
    made: Any,
    plan: Plan,
    edits: tuple[Edit, ...],
    pair: Pair,
    shapes: Shapes,
    asked: ConversionRequest,
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


def _worth_saying(network: Network) -> tuple[Finding, ...]:
    return tuple(f for f in inspect_network(network).findings if f.code == "aspp-center")
