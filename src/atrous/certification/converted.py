"""A conversion that is made, with its certificate."""

from __future__ import annotations

from typing import Any

from atrous.analysis import Finding, inspect_network
from atrous.certification.certify import Pair, certify
from atrous.certification.conversion import Conversion
from atrous.certification.network_pair import NetworkPair
from atrous.conversion.edits import Edit
from atrous.conversion.plan import Plan
from atrous.conversion.request import ConversionRequest
from atrous.network import Network
from atrous.network.folded_pads import folded
from atrous.network.shapes import Shapes
from atrous.refusal import Refusal

__all__ = ["certified"]


def certified(
    made: Any,
    plan: Plan,
    edits: tuple[Edit, ...],
    pair: Pair,
    shapes: Shapes,
    asked: ConversionRequest,
    after: Network,
) -> Conversion:
    """The conversion of a model that is made, with its certificate; `after` is it as a network."""
    notes = list(plan.notes)
    if not asked.measure:
        pair = NetworkPair(plan.reference, folded(after), "as asked")
        shapes = tuple(t.shape for t in plan.reference.inputs)  # some may be needed by no output
    certificate = certify(pair, shapes, asked.names, notes=notes)
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
        model=made,
        certificate=certificate,
        edits=edits,
        direction=plan.direction,
        output_stride=plan.target,
        heads=plan.heads,
        findings=_worth_saying(after),
        notes=tuple(notes),
        networks=(plan.reference, after),
    )


def _worth_saying(network: Network) -> tuple[Finding, ...]:
    return tuple(f for f in inspect_network(network).findings if f.code == "aspp-center")
