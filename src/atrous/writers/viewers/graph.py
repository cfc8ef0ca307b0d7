"""The nodes of an ONNX file or of an exported program, by what a report's layers go back to."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from atrous.readers.onnx.file import subgraphs

if TYPE_CHECKING:
    import onnx

__all__ = ["named_nodes", "nodes_of", "several_results"]


def nodes_of(model: onnx.ModelProto) -> dict[str, onnx.NodeProto]:
    """The nodes of a model's graph by their first output.

    Not those that call one of the model's functions or hold graphs of their own: their layers are
    those inside.
    """
    functions = {(function.domain, function.name) for function in model.functions}
    return {
        node.output[0]: node
        for node in model.graph.node
        if node.output
        and node.output[0]
        and (node.domain, node.op_type) not in functions
        and not any(True for _ in subgraphs(node))
    }


def named_nodes(source: Any) -> dict[str, str]:
    """The id that Model Explorer gives each node, by what a report's layers go back to.

    Of an ONNX model it is the node's name: one that has none, or shares it, gets another id there
    and is left out. Of an exported program it is the node's name in its graph.
    """
    if hasattr(source, "graph_module"):
        return {node.name: node.name for node in source.graph_module.graph.nodes}
    shared = Counter(node.name for node in source.graph.node)
    nodes = nodes_of(source).items()
    return {output: node.name for output, node in nodes if node.name and shared[node.name] == 1}


def several_results(source: Any) -> frozenset[str]:
    """The first outputs of those nodes of an ONNX model that have more than one."""
    if hasattr(source, "graph_module"):
        return frozenset()
    return frozenset(
        output
        for output, node in nodes_of(source).items()
        if len(list(filter(None, node.output))) > 1
    )
