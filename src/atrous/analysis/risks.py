"""What may go wrong with a scheme, from what it reads: few words for a table, a sentence below."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import gcd, prod

from atrous.analysis.field import Field
from atrous.analysis.inspection import Inspection, Layer
from atrous.network import Network

__all__ = ["Risk", "grids_of", "risks_of"]


@dataclass(frozen=True, slots=True)
class Risk:
    """Something to know before choosing a scheme: the code of the finding, and a sentence."""

    code: str
    layer: str
    message: str

    def to_dict(self) -> dict[str, object]:
        """Plain data."""
        return {"code": self.code, "layer": self.layer, "message": self.message}

    def __str__(self) -> str:
        return f"{self.layer}: {self.message}"


def risks_of(report: Inspection, unread: Fraction | None) -> tuple[Risk, ...]:
    """The risks of the (last) output of a network, most serious first.

    `opaque`: some op is not understood. `gridding`: the output's reads have holes. `subgrids`: they
    lie on grids that outputs in different places do not share. `unread`: some of the input is read
    by no output. `field-exceeds-input`: the output's field is larger than the input, so
    every output looks past its border. `global`: some op mixes all positions.
    """
    output = report.outputs[-1]
    found = [Risk("opaque", name, "not understood") for name in output.opaque[:1]]
    gaps = [axis for axis in output.field if axis.coverage < 1]
    if gaps:
        found.append(Risk("gridding", output.name, _holes(report, output, gaps)))
    apart = [axis for axis in output.field if grids_of(axis) > 1]
    if apart:
        found.append(Risk("subgrids", output.name, _disjoint(max(apart, key=grids_of))))
    if unread:
        share = "less than 1%" if unread < Fraction(1, 100) else f"{float(unread):.0%}"
        found.append(Risk("unread", report.input, f"{share} of it is read by no output"))
    grid = report.network.tensor(report.input).grid
    beyond = [axis for axis in output.field if axis.size > grid[axis.axis]]
    if beyond and not output.is_global:
        worst = max(beyond, key=lambda axis: axis.size)
        message = (
            f"sees {worst.size} positions along {worst.axis} of an input of {grid[worst.axis]}: "
            "every output looks past the border"
        )
        found.append(Risk("field-exceeds-input", output.name, message))
    mixed = "mixes all positions; the field is the local one"
    found += [Risk("global", name, mixed) for name in output.globals[:1]]
    return tuple(found)


def _holes(report: Inspection, output: Layer, gaps: list[Field]) -> str:
    worst = min(gaps, key=lambda axis: axis.coverage)
    along = "along each axis" if len(output.field) > 1 else f"along {worst.axis}"
    if any(axis.coverage != worst.coverage for axis in output.field):
        along = f"along {worst.axis}"
    text = f"reads {worst.taps} of {worst.size} positions {along}"
    if len(output.field) > 1 and _is_chain(report.network):
        # In a chain every read is a product of axes.
        box = {2: "the square", 3: "the cube"}.get(len(output.field), "the box")
        text += f", {prod(axis.coverage for axis in output.field):.0%} of {box}"
    return f"{text}; gaps of up to {max(axis.max_gap for axis in gaps)}"


def grids_of(axis: Field) -> int:
    """Into how many sets the outputs along an axis fall that have no input in common.

    Reads `step` apart, moved by `stride` from one output to the next; 1 after upsampling.
    """
    if len(axis.phases) > 1 or axis.stride.denominator > 1:
        return 1
    return axis.step // gcd(axis.step, axis.stride.numerator)


def _disjoint(axis: Field) -> str:
    return (
        f"its reads are {axis.step} positions apart and outputs {axis.stride}: outputs fall into "
        f"{grids_of(axis)} grids along {axis.axis} that share no input"
    )


def _is_chain(network: Network) -> bool:
    return all(len(node.inputs) == 1 for node in network.nodes) and len(network.outputs) == 1
