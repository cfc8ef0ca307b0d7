"""Batch norms and constant factors folded into the weights of the layer before them.

What is folded stays an expression of the parameters in the graph, computed in float64 and rounded
once, so that new parameters are folded anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.fx import Graph, Node

from atrous.optimization.graph.clean import constants_first, drop_unused, is_call, merged, replaced

__all__ = ["CONVS", "LINEAR", "TRANSPOSED", "fold", "has_constant_weights"]

_aten: Any = torch.ops.aten
CONVS = (
    "aten.conv1d.default",
    "aten.conv2d.default",
    "aten.conv3d.default",
    "aten.conv1d.padding",
    "aten.conv2d.padding",
    "aten.conv3d.padding",
)
LINEAR = "aten.linear.default"
TRANSPOSED = (
    "aten.conv_transpose1d.default",
    "aten.conv_transpose2d.input",
    "aten.conv_transpose3d.input",
)
_NORM = "aten._native_batch_norm_legit_no_training.default"


def fold(graph: Graph) -> None:
    """Folds into convolutions and linear maps what only scales and shifts their channels."""
    changed = True
    while changed:
        constants = constants_first(graph)
        changed = False
        for node in graph.nodes:
            changed |= (
                _norm(graph, node, constants)
                or _norm_before(graph, node, constants)
                or _factor(graph, node, constants)
                or _through_permute(graph, node)
            )
        drop_unused(graph)


def scaled_weight(weight: torch.Tensor, scale: Any, axis: int) -> torch.Tensor:
    """The weight with each output channel, along `axis`, times its scale."""
    shape = [1] * weight.dim()
    if isinstance(scale, torch.Tensor) and scale.numel() > 1:
        shape[axis] = -1
    factor = torch.as_tensor(scale, dtype=torch.float64).reshape(shape)
    return (weight.double() * factor).to(weight.dtype)


def scaled_bias(bias: torch.Tensor | None, scale: Any, shift: Any, like: Any) -> torch.Tensor:
    """The bias times scale, plus shift, one number for each channel of the weight `like`."""
    weight, axis = like
    made = torch.zeros(weight.shape[axis], dtype=torch.float64)
    if bias is not None:
        made += bias.double() * torch.as_tensor(scale, dtype=torch.float64).reshape(-1)
    made += torch.as_tensor(shift, dtype=torch.float64).reshape(-1)
    return made.to(weight.dtype)


def norm_scale(weight: torch.Tensor | None, variance: torch.Tensor, eps: float) -> torch.Tensor:
    """What a batch norm in evaluation multiplies each channel by, in float64."""
    scale = (variance.double() + eps).rsqrt()
    return scale if weight is None else scale * weight.double()


def norm_shift(bias: torch.Tensor | None, mean: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """What a batch norm in evaluation adds to each channel, in float64."""
    shift = -mean.double() * scale
    return shift if bias is None else shift + bias.double()


def has_constant_weights(node: Node, constants: set[Node]) -> bool:
    """Whether weight and bias depend on parameters alone."""
    held = node.args[1:3]
    return held[0] in constants and all(one is None or one in constants for one in held[1:])


def _foldable(node: Any, constants: set[Node]) -> bool:
    if not is_call(node, *CONVS, LINEAR, *TRANSPOSED) or len(node.users) != 1:
        return False
    is_grouped = is_call(node, *TRANSPOSED) and len(node.args) > 6 and node.args[6] != 1
    return not is_grouped and has_constant_weights(node, constants) and _is_batch(node)


def _is_batch(layer: Node) -> bool:
    """Whether channels are the second axis of what a convolution makes."""
    if is_call(layer, LINEAR):
        return True
    held = layer.args[1].meta.get("val")
    return held is not None and bool(layer.meta["val"].dim() == held.dim())


def _norm(graph: Graph, node: Node, constants: set[Node]) -> bool:
    if not is_call(node, _NORM) or not _foldable(node.args[0], constants):
        return False
    layer, weight, bias, mean, variance, _, eps = node.args
    if layer.args[0] in constants or not {weight, bias, mean, variance} - {None} <= constants:
        return False
    if is_call(layer, LINEAR) and layer.meta["val"].dim() != 2:
        # Its channels are the norm's second axis, the linear map's are its last.
        return False
    results = list(node.users)
    if any(user.args[1] != 0 for user in results if user.users):
        return False
    with graph.inserting_before(layer):
        scale = graph.call_function(norm_scale, (weight, variance, eps))
        shift = graph.call_function(norm_shift, (bias, mean, scale))
    constants.update((scale, shift))
    _rescale(graph, layer, scale, shift, constants)
    for user in results:
        replaced(user, layer, node)
    graph.erase_node(node)
    return True


def weight_behind(weight: torch.Tensor, scale: torch.Tensor, groups: int) -> torch.Tensor:
    """The weight with each input channel times its scale."""
    made: torch.Tensor = weight.double() * _by_input(weight, scale, groups)
    return made.to(weight.dtype)


def bias_behind(
    weight: torch.Tensor, bias: torch.Tensor | None, shift: torch.Tensor, groups: int
) -> torch.Tensor:
    """The bias, plus what each input channel's shift comes to."""
    made = (weight.double() * _by_input(weight, shift, groups)).flatten(1).sum(1)
    return (made if bias is None else made + bias.double()).to(weight.dtype)


def _by_input(weight: torch.Tensor, values: torch.Tensor, groups: int) -> torch.Tensor:
    """Values of input channels as a weight (filters, channels of a group, taps) meets them."""
    each = values.reshape(groups, 1, -1).expand(-1, len(weight) // groups, -1)
    return each.reshape(len(weight), -1, *[1] * (weight.dim() - 2))


def _norm_before(graph: Graph, node: Node, constants: set[Node]) -> bool:
    """A batch norm that only convolutions without padding read, folded into each of them.

    With padding the zeros would have to be what the norm makes of none.
    """
    if not is_call(node, _NORM) or not {*node.args[1:5]} - {None} <= constants:
        return False
    x, weight, bias, mean, variance, _, eps = node.args
    results = [user for user in node.users if user.users]
    if len(results) != 1 or results[0].args[1] != 0 or x in constants:
        return False
    readers = list(results[0].users)
    if not all(_takes_shift(one, results[0], constants) for one in readers):
        return False
    for conv in readers:
        held, own = conv.args[1], conv.args[2] if len(conv.args) > 2 else None
        groups = int(conv.args[6]) if len(conv.args) > 6 else 1
        with graph.inserting_before(conv):
            scale = graph.call_function(norm_scale, (weight, variance, eps))
            shift = graph.call_function(norm_shift, (bias, mean, scale))
            new_weight = graph.call_function(weight_behind, (held, scale, groups))
            new_bias = graph.call_function(bias_behind, (held, own, shift, groups))
        constants.update((scale, shift, new_weight, new_bias))
        new_weight.meta["val"] = new_bias.meta["val"] = held.meta["val"]
        conv.args = (x, new_weight, new_bias, *conv.args[3:])
        merged(conv, node, results[0])
    return True


def _takes_shift(conv: Node, x: Node, constants: set[Node]) -> bool:
    """Whether a node is a convolution of `x` by constants that reads no padding."""
    if not is_call(conv, *CONVS) or conv.args[0] is not x or x in conv.args[1:]:
        return False
    padding = conv.args[4] if len(conv.args) > 4 else 0
    if isinstance(padding, str):
        is_plain = padding == "valid"
    else:
        is_plain = not any([padding] if isinstance(padding, int) else padding)
    return is_plain and has_constant_weights(conv, constants) and _is_batch(conv)


def _factor(graph: Graph, node: Node, constants: set[Node]) -> bool:
    if not is_call(node, "aten.mul.Tensor", "aten.add.Tensor", "aten.div.Tensor") or node.kwargs:
        return False
    pairs = [tuple(node.args[:2])]
    if not is_call(node, "aten.div.Tensor"):
        pairs.append((node.args[1], node.args[0]))
    for layer, value in pairs:
        if not _foldable(layer, constants) or layer.args[0] in constants:
            continue
        if layer.meta["val"].dtype != node.meta["val"].dtype:
            continue
        if not _is_by_channel(layer, value, constants):
            continue
        scale: Any = 1.0
        shift: Any = 0.0
        if is_call(node, "aten.add.Tensor"):
            shift = value
        elif is_call(node, "aten.mul.Tensor"):
            scale = value
        elif isinstance(value, Node):
            with graph.inserting_before(layer):
                scale = graph.call_function(torch.reciprocal, (value,))
            constants.add(scale)
        else:
            scale = 1.0 / value if value else float("inf")
        if is_call(node, "aten.div.Tensor") and scale == float("inf"):
            return False
        _rescale(graph, layer, scale, shift, constants)
        replaced(node, layer)
        return True
    return False


def _is_by_channel(layer: Node, value: Any, constants: set[Node]) -> bool:
    """Whether a value is one number, or one for each output channel of the layer."""
    if isinstance(value, int | float):
        return True
    if value not in constants or value is None:
        return False
    made, held = layer.meta["val"], value.meta.get("val")
    if held is None or not held.dtype.is_floating_point:
        return False
    axis = -1 if is_call(layer, LINEAR) else -(made.dim() - 1)
    sizes: list[int] = [int(size) for size in held.shape]
    if held.numel() == 1:
        return bool(len(sizes) <= made.dim())
    if len(sizes) < -axis or len(sizes) > made.dim():
        return False
    return bool(held.numel() == sizes[axis] == int(made.shape[axis]))


def _rescale(graph: Graph, layer: Node, scale: Any, shift: Any, constants: set[Node]) -> None:
    weight, bias = layer.args[1], layer.args[2] if len(layer.args) > 2 else None
    axis = 1 if is_call(layer, *TRANSPOSED) else 0
    with graph.inserting_before(layer):
        new_weight = graph.call_function(scaled_weight, (weight, scale, axis))
        new_bias = graph.call_function(scaled_bias, (bias, scale, shift, (weight, axis)))
    constants.update((new_weight, new_bias))
    new_weight.meta["val"] = weight.meta["val"]
    # A bias of the channels' dtype.
    new_bias.meta["val"] = weight.meta["val"]
    layer.args = (layer.args[0], new_weight, new_bias, *layer.args[3:])


def _through_permute(graph: Graph, node: Node) -> bool:
    """`permute(linear(x)) * c + y` as `permute(linear(x) * c + permute(y))`, where each is folded.

    Exact: the same numbers meet. The inner permutations are views.
    """
    if not is_call(node, "aten.mul.Tensor", "aten.add.Tensor") or node.kwargs:
        return False
    for one, other in (tuple(node.args[:2]), (node.args[1], node.args[0])):
        if not is_call(one, "aten.permute.default") or len(one.users) != 1:
            continue
        layer, dims = one.args
        if not is_call(layer, LINEAR) or len(layer.users) != 1:
            continue
        made = _permuted(graph, node, other, dims, one.meta["val"])
        if made is None:
            continue
        with graph.inserting_before(node):
            inner = graph.call_function(node.target, (layer, made))
            outer = graph.call_function(_aten.permute.default, (inner, list(dims)))
        for new in (inner, outer):
            new.meta = dict(node.meta)
        inner.meta["val"] = layer.meta["val"]
        outer.meta["covers"] = one.meta["covers"]
        node.replace_all_uses_with(outer)
        graph.erase_node(node)
        return True
    return False


def _permuted(graph: Graph, node: Node, other: Any, dims: Sequence[int], like: Any) -> Any:
    """The other operand as the layer before the permutation meets it; None where it broadcasts."""
    if isinstance(other, int | float):
        return other
    held = other.meta.get("val") if isinstance(other, Node) else None
    if held is None or held.dtype != like.dtype or held.dim() > like.dim():
        return None
    if any(
        size not in (1, full)
        for size, full in zip(held.shape[::-1], like.shape[::-1], strict=False)
    ):
        return None
    inverse = sorted(range(len(dims)), key=lambda axis: dims[axis] % len(dims))
    with graph.inserting_before(node):
        if held.dim() < like.dim():
            shape = [1] * (like.dim() - held.dim()) + [int(size) for size in held.shape]
            other = graph.call_function(_aten.reshape.default, (other, shape))
            other.meta = {**node.meta, "val": held.reshape(shape), "covers": ()}
        made = graph.call_function(_aten.permute.default, (other, inverse))
    made.meta = {**node.meta, "val": other.meta["val"].permute(inverse), "covers": ()}
    return made
