"""Facts in the metadata of an ONNX model's nodes, which netron shows with their properties."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from atrous.analysis import Layer
from atrous.shown import some
from atrous.writers.viewers.facts import NodeFacts
from atrous.writers.viewers.graph import nodes_of

if TYPE_CHECKING:
    import onnx

__all__ = ["PREFIX", "annotate_model"]

PREFIX = "atrous."
"""What the keys begin with: those of an earlier report are replaced."""


def annotate_model(model: onnx.ModelProto, facts: Mapping[str, NodeFacts]) -> int:
    """Puts what is known of each node into its metadata, in place; how many nodes have some."""
    noted = 0
    for output, node in nodes_of(model).items():
        kept = [entry for entry in node.metadata_props if not entry.key.startswith(PREFIX)]
        if len(kept) < len(node.metadata_props):
            kept = [type(entry).FromString(entry.SerializeToString()) for entry in kept]
            del node.metadata_props[:]
            node.metadata_props.extend(kept)
        if output not in facts:
            continue
        noted += 1
        for key, value in _entries(facts[output]):
            node.metadata_props.add(key=PREFIX + key, value=value)
    return noted


def _entries(facts: NodeFacts) -> Iterator[tuple[str, str]]:
    if facts.layer is not None:
        yield from _seen(facts.layer)
    yield "macs", "not known" if facts.macs is None else str(facts.macs)
    yield "params", str(facts.params)
    if facts.activation_bytes is not None:
        yield "activation_bytes", str(facts.activation_bytes)
    for finding in facts.findings:
        yield f"finding.{finding.code}", f"{finding.message} {finding.fix}".strip()


def _seen(layer: Layer) -> Iterator[tuple[str, str]]:
    if not layer.complete:
        yield "not_known", f"what is read through {some(layer.opaque)}"
    elif layer.field:
        yield "receptive_field", " x ".join(str(axis.size) for axis in layer.field)
        yield "read", " x ".join(f"{axis.taps}/{axis.size}" for axis in layer.field)
        yield "largest_hole", " x ".join(str(axis.max_gap) for axis in layer.field)
        yield "output_stride", " x ".join(str(axis.stride) for axis in layer.field)
    if layer.globals:
        yield "mixed_by", some(layer.globals)
