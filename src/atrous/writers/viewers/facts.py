"""What a report says of each node of the graph that its source is, by the node's first output."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

from atrous.analysis import Field, Finding, Inspection, Layer

__all__ = ["NodeFacts", "node_facts"]


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """One node: the layer that its result is, and the cost of all layers that it became.

    `layer` is None where the node has several results. `macs` is None where what it multiplies is
    not known.
    """

    layer: Layer | None
    macs: int | None
    params: int
    findings: tuple[Finding, ...]

    @property
    def size(self) -> int | None:
        """The largest receptive field along an axis; None where it is not known, or has none."""
        return max((axis.size for axis in self._known), default=None)

    @property
    def stride(self) -> Fraction | None:
        """The largest output stride along an axis."""
        return max((axis.stride for axis in self._known), default=None)

    @property
    def unread(self) -> float | None:
        """The largest share of a receptive field, along an axis, that is not read."""
        return max((1 - axis.coverage for axis in self._known if axis.size), default=None)

    @property
    def activation_bytes(self) -> int | None:
        """The size of the output."""
        return self.layer.activation_bytes if self.layer and self.layer.sized else None

    @property
    def _known(self) -> tuple[Field, ...]:
        return self.layer.field if self.layer and self.layer.complete else ()


def node_facts(report: Inspection) -> dict[str, NodeFacts]:
    """By what the source calls each operation (`Node.origin`), in execution order."""
    layers: dict[str, list[Layer]] = {}
    for layer in report.layers:
        if layer.node is not None and layer.node.origin:
            layers.setdefault(layer.node.origin, []).append(layer)
    findings: dict[str, list[Finding]] = {}
    for finding in report.findings:
        findings.setdefault(finding.layer, []).append(finding)
    return {
        origin: NodeFacts(
            group[-1],
            None if any(layer.uncounted for layer in group) else sum(one.macs for one in group),
            _params(report, group),
            tuple(found for layer in group for found in findings.get(layer.name, ())),
        )
        for origin, group in layers.items()
    }


def _params(report: Inspection, layers: Iterable[Layer]) -> int:
    """The parameters of these layers, each counted once."""
    names = {name for layer in layers if layer.node is not None for name in layer.node.params}
    held = report.network.params
    return sum(held[name].count for name in names if not held[name].buffer)
