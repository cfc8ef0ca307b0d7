"""Convolutions behind one value of an ONNX model, which is changed in a copy."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from atrous.conversion.inserted import Inserted
from atrous.geometry import Window, same_torch
from atrous.network import Network
from atrous.readers.onnx.file import check, load
from atrous.readers.onnx.graph import copied
from atrous.refusal import Refusal

if TYPE_CHECKING:
    import onnx

__all__ = ["insert_onnx"]

_TYPES = {2: "float16", 4: "float32", 8: "float64"}


def insert_onnx(
    source: str | Path | onnx.ModelProto, network: Network, put: Inserted
) -> onnx.ModelProto | Refusal:
    """A copy of the model with the convolutions behind the node that makes the value.

    The value's name goes to what the last of them makes, so that all that reads it, and an output
    of the model, keep it.
    """
    import numpy as np
    from onnx import helper, numpy_helper

    loaded = load(source)
    check(loaded)
    model = copied(loaded.model)
    graph = model.graph
    maker = network.maker(put.tensor)
    value = put.tensor if maker is None else maker.origin
    place = next((i for i, node in enumerate(graph.node) if value in node.output), None)
    inputs = {item.name for item in graph.input}
    kind = _TYPES.get(network.tensor(put.tensor).itemsize)
    if place is None and value not in inputs:
        return Refusal(
            "insert", put.behind, "a function of the file makes it; name another layer (at=...)."
        )
    if kind is None:
        return Refusal("insert", put.behind, "its numbers are no floats; name another layer.")
    taken = {name for node in graph.node for name in (*node.input, *node.output)}
    taken |= inputs | {item.name for item in graph.initializer}

    def fresh(name: str) -> str:
        while name in taken:
            name += "_"
        taken.add(name)
        return name

    nodes: list[onnx.NodeProto] = []
    before = fresh(f"{value}_plain") if place is not None else value
    read = before
    for name, rate in zip(put.layers, put.rates, strict=True):
        window = Window(put.kernel, 1, rate, *same_torch(put.kernel, rate))
        weight = np.zeros((put.channels, put.channels, *(put.kernel,) * put.rank), kind)
        each = np.arange(put.channels)
        weight[(each, each, *(np.full_like(each, put.kernel // 2),) * put.rank)] = 1
        stored = fresh(f"{name}_weight")
        graph.initializer.append(numpy_helper.from_array(weight, stored))
        last = name == put.layers[-1] and place is not None
        made = value if last else fresh(f"{value}_{name}")
        nodes.append(
            helper.make_node(
                "Conv",
                [read, stored],
                [made],
                name=fresh(name),
                dilations=[rate] * put.rank,
                pads=[window.pad_lo] * put.rank + [window.pad_hi] * put.rank,
            )
        )
        read = made
    if place is None:
        for node in graph.node:
            node.input[:] = [read if one == value else one for one in node.input]
        place = -1
    else:
        found = graph.node[place]
        found.output[:] = [before if one == value else one for one in found.output]
    whole = list(graph.node)
    whole[place + 1 : place + 1] = nodes
    del graph.node[:]
    graph.node.extend(whole)
    return model
