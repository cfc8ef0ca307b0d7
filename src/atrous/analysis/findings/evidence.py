"""What finders look at: the report's layers, who makes and reads each tensor, traces on demand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from typing import TYPE_CHECKING

from atrous.analysis.field import Field, field_of
from atrous.analysis.scale import Scale
from atrous.analysis.spans import Span, spans_of
from atrous.analysis.trace import Seen, traced
from atrous.geometry import Reads
from atrous.network import Network, Node

if TYPE_CHECKING:
    from atrous.analysis.layer import Layer

__all__ = ["Evidence"]


@dataclass(frozen=True)
class Evidence:
    """A network with the fields of its layers, measured on the input `source`.

    Messages say lengths along axes in the units of `scales`, as `words.lengths` does.
    """

    network: Network
    source: str
    layers: Sequence[Layer]
    outputs: Sequence[Layer]
    scales: Mapping[str, Scale] = field(default_factory=dict)

    @cached_property
    def ends(self) -> tuple[Layer, ...]:
        """The outputs; of one that is made of parts laid end to end, the layers that made them."""
        by_name = {layer.name: layer for layer in self.layers}
        found: dict[str, Layer] = {}
        for output in self.outputs:
            parts = [by_name[p.source] for p in output.parts if p.source in by_name]
            found.update((layer.name, layer) for layer in parts or [output])
        return tuple(found.values())

    @cached_property
    def by_tensor(self) -> dict[str, Layer]:
        """The layer that makes each tensor."""
        return {layer.tensor: layer for layer in self.layers}

    @cached_property
    def consumers(self) -> dict[str, list[Node]]:
        """The nodes that read each tensor, in execution order."""
        found: dict[str, list[Node]] = {}
        for node in self.network.nodes:
            for name in dict.fromkeys(node.inputs):
                found.setdefault(name, []).append(node)
        return found

    @cached_property
    def source_lengths(self) -> dict[str, int]:
        """The length of each axis of the input that fields are measured on."""
        return self.network.tensor(self.source).grid

    @cached_property
    def _traces(self) -> dict[tuple[str, tuple[tuple[str, int], ...]], Mapping[str, Seen]]:
        return {}

    def trace(self, output: Layer, at: dict[str, int]) -> Mapping[str, Seen]:
        """What position `at` of an output reads of every tensor before it."""
        key = (output.tensor, tuple(sorted(at.items())))
        if key not in self._traces:
            self._traces[key] = traced(self.network, output.tensor, at, self.source)
        return self._traces[key]

    def field(self, tensor: str, axis: str) -> Field | None:
        """The field of a tensor along an axis; None where it is not known."""
        layer = self.by_tensor.get(tensor)
        if layer is None:
            length = self.source_lengths.get(axis) if tensor == self.source else None
            return field_of(axis, (Reads.identity(),), length) if length else None
        if len(layer.parts) > 1:
            return None
        return next((field for field in layer.field if field.axis == axis), None)

    @cached_property
    def _spans(self) -> dict[str, tuple[Span, ...]]:
        return {node.name: spans_of(node, self.network) for node in self.network.nodes}

    def spans(self, node: Node) -> tuple[Span, ...]:
        """The windows of a convolution or pool; none where one runs along no whole axis."""
        return self._spans[node.name]

    def apart(self, tensor: str, counts: Mapping[str, int]) -> dict[str, Fraction]:
        """So many positions of a tensor along axes, as positions of the input."""
        fields = {axis: self.field(tensor, axis) for axis in counts}
        strides = {axis: field.stride for axis, field in fields.items() if field is not None}
        return {axis: counts[axis] * stride for axis, stride in strides.items()}

    def positions(self, output: Layer) -> dict[str, int]:
        """The axes along which an output still has positions, and how many."""
        return self.network.tensor(output.tensor).grid
