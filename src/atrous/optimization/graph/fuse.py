"""Convolutions, linear maps and pools as calls of layers: with the padding before, the sum and the
activation behind them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from math import prod
from typing import Any

import torch
from torch.fx import Graph, Node

from atrous.geometry import Window, torch_pads
from atrous.optimization.graph.clean import constants_of, is_call, replaced
from atrous.optimization.graph.fold import CONVS, LINEAR, TRANSPOSED, has_constant_weights
from atrous.optimization.graph.pools import each_axis, pool_call
from atrous.optimization.graph.resizes import resize_call
from atrous.optimization.layer.activations import Activation, of_aten
from atrous.optimization.layer.call import LayerCall

__all__ = ["call_of", "fuse", "is_layer", "layer"]

_SLOPED = "leaky_relu"


def layer(x: Any, weight: Any, bias: Any, other: Any = None, slope: Any = None) -> Any:
    """Stands in the graph for a call that a strategy will compute.

    `slope` is the parameter of a PReLU, which is a leaky ReLU of that slope.
    """
    raise NotImplementedError((x, weight, bias, other, slope))


def is_layer(node: Any) -> bool:
    """Whether a node is the call of a layer; then its meta has the `call`."""
    return isinstance(node, Node) and node.target is layer


def call_of(node: Node, values: Mapping[Node, Any]) -> LayerCall:
    """The call of a layer's node, a slope that is a parameter taken from the values."""
    call: LayerCall = node.meta["call"]
    if len(node.args) < 5:
        return call
    slope = float(values[node.args[4]])
    return replace(call, activation=Activation(_SLOPED, (slope,)))


def fuse(graph: Graph) -> None:
    """Replaces every convolution and linear map with weights of its own, every pool and every
    bilinear resize, by the call of a layer."""
    constants = constants_of(graph)
    names: Counter[str] = Counter()
    for node in list(graph.nodes):
        if node not in constants and (call := pool_call(node) or resize_call(node)) is not None:
            _put(graph, node, (node.args[0], None, None), call, names)
            continue
        is_window = is_call(node, *CONVS, *TRANSPOSED, LINEAR) and node not in constants
        if is_window and has_constant_weights(node, constants):
            _as_layer(graph, node, names)
    for node in list(graph.nodes):
        found: Node | None = node if is_layer(node) else None
        while found is not None:
            found = _absorbed(graph, found, constants)


def _as_layer(graph: Graph, node: Node, names: Counter[str]) -> None:
    x, weight, bias = (*node.args, None)[:3] if len(node.args) < 3 else node.args[:3]
    call = _call(node, x, weight, bias)
    if call is None:
        return
    padding = []
    if call.op == "conv" and is_call(x, "aten.constant_pad_nd.default") and _is_for_convs(x):
        inner = _with_padding(call, x)
        if inner is not None:
            padding = [x] if len(x.users) == 1 else []
            call, x = inner, x.args[0]
    _put(graph, node, (x, weight, bias), call, names, *padding)


def _put(
    graph: Graph,
    node: Node,
    arguments: tuple[Any, ...],
    call: LayerCall,
    names: Counter[str],
    *padding: Node,
) -> None:
    """The call of a layer in the place of a node."""
    with graph.inserting_before(node):
        made = graph.call_function(layer, arguments)
    made.meta = {**node.meta, "call": call}
    name = node.meta["layer"]
    made.meta["layer"] = f"{name}@{names[name]}" if names[name] else name
    names[name] += 1
    replaced(node, made, *padding)


def _call(node: Node, x: Any, weight: Any, bias: Any) -> LayerCall | None:
    given, made = x.meta.get("val"), node.meta.get("val")
    held = weight.meta.get("val")
    if given is None or held is None or prod(given.shape) == 0 or prod(made.shape) == 0:
        return None
    if given.dtype != held.dtype or given.dtype not in (
        torch.float32,
        torch.float64,
        torch.bfloat16,
        torch.float16,
    ):
        return None
    shape, kernel = tuple(map(int, given.shape)), tuple(map(int, held.shape))
    dtype = str(given.dtype).removeprefix("torch.")
    if is_call(node, LINEAR):
        return (
            LayerCall("linear", shape, kernel, bias is not None, dtype=dtype)
            if len(shape) > 1
            else None
        )
    rank = len(kernel) - 2
    if len(shape) != rank + 2:
        return None
    if is_call(node, *TRANSPOSED):
        return _transposed_call(node, shape, kernel, dtype, has_bias=bias is not None)
    arguments = [*node.args[3:], *[1, 0, 1, 1][max(len(node.args) - 3, 0) :]]
    stride, dilation = (each_axis(value, rank) for value in (arguments[0], arguments[2]))
    pads = torch_pads(arguments[1], kernel[2:], dilation)
    windows = Window.of_axes(kernel[2:], stride, dilation, pads)
    groups = int(arguments[3])
    return LayerCall("conv", shape, kernel, bias is not None, windows, groups, dtype=dtype)


def _transposed_call(
    node: Node, shape: tuple[int, ...], kernel: tuple[int, ...], dtype: str, *, has_bias: bool
) -> LayerCall:
    rank = len(kernel) - 2
    arguments = [*node.args[3:], *[1, 0, 0, 1, 1][max(len(node.args) - 3, 0) :]]
    stride, cut, more, dilation = (each_axis(arguments[at], rank) for at in (0, 1, 2, 4))
    windows = Window.of_axes(kernel[2:], stride, dilation, [(size, size) for size in cut])
    groups = int(arguments[3])
    return LayerCall(
        "transposed", shape, kernel, has_bias, windows, groups, dtype=dtype, output_padding=more
    )


def _is_for_convs(pad: Node) -> bool:
    """Whether only convolutions read it, so that each may take the padding upon itself."""
    return all(is_call(user, *CONVS) for user in pad.users)


def _with_padding(call: LayerCall, pad: Node) -> LayerCall | None:
    """The call with zeros that were put around its input before; None where they are no zeros."""
    x, pads = pad.args[:2]
    value = pad.args[2] if len(pad.args) > 2 else pad.kwargs.get("value", 0)
    if value != 0 or len(pads) > 2 * call.rank or any(size < 0 for size in pads):
        return None
    pairs = [(pads[at], pads[at + 1]) for at in range(0, len(pads), 2)]
    pairs += [(0, 0)] * (call.rank - len(pairs))
    windows = tuple(
        replace(window, pad_lo=window.pad_lo + lo, pad_hi=window.pad_hi + hi)
        for window, (lo, hi) in zip(call.windows, reversed(pairs), strict=True)
    )
    return replace(call, input=tuple(map(int, x.meta["val"].shape)), windows=windows)


def _absorbed(graph: Graph, node: Node, constants: set[Node]) -> Node | None:
    """The call together with the one operation that uses it; None where that stays apart."""
    if len(node.users) != 1:
        return None
    user = next(iter(node.users))
    call: LayerCall = node.meta["call"]
    if call.activation or user.op != "call_function":
        return None
    if user.args and user.args[0] is node:
        activation = of_aten(
            user.target, tuple(user.args[1:]), user.kwargs.get("approximate", "none")
        )
        named = set(user.kwargs) <= {"approximate"}
        if activation is not None and named and len(user.all_input_nodes) == 1:
            node.meta["call"] = replace(call, activation=activation)
            replaced(user, node)
            return node
    if is_call(user, "aten.prelu.default") and user.args[0] is node and user.args[1] in constants:
        slope = user.args[1]
        if slope.meta["val"].numel() == 1:
            node.args = (*(*node.args, None)[:4], slope)
            node.meta["call"] = replace(call, activation=Activation(_SLOPED, (0.0,)))
            replaced(user, node)
            return None
    if call.adds or not is_call(user, "aten.add.Tensor") or user.kwargs or len(user.args) != 2:
        return None
    others = [one for one in user.args if one is not node]
    other = others[0] if len(others) == 1 else None
    if not isinstance(other, Node) or not _is_alike(node, other):
        return None
    with graph.inserting_before(user):
        made = graph.call_function(layer, (*node.args[:3], other))
    made.meta = {**node.meta, "call": replace(call, adds=True)}
    replaced(user, made)
    graph.erase_node(node)
    return made


def _is_alike(one: Node, other: Node) -> bool:
    a, b = one.meta["val"], other.meta.get("val")
    return isinstance(b, torch.Tensor) and a.shape == b.shape and a.dtype == b.dtype
