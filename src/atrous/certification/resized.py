"""A network at other input sizes, where none of its operations holds a size."""

from __future__ import annotations

from dataclasses import replace

from atrous.errors import AtrousError
from atrous.network import Network, Node, Tensor
from atrous.network.layout import Dim, has_axes
from atrous.network.ops import (
    AdaptivePool,
    Concat,
    Conv,
    ConvTranspose,
    Elementwise,
    Linear,
    Mix,
    Permute,
    Pool,
    Reduce,
)
from atrous.network.shapes import Shape, Shapes
from atrous.network.walk import remade

__all__ = ["resized", "resized_or_refused"]

_WINDOWS = (Conv, Pool)
_FREE = (Concat, Conv, ConvTranspose, Elementwise, Linear, Permute, Pool, Reduce)
_NORMS = ("batch_norm", "group_norm", "instance_norm")
"""Those that hold numbers for channels alone; a layer norm may hold some for positions."""


def resized(network: Network, shapes: Shapes) -> Network | None:
    """The network as its code would make it at these input shapes, as far as operations tell.

    None where one holds a size of a map (a reshape, a resampling, a padding), which code may work
    out anew, and where a map vanishes. Code that takes another way at another size is not seen:
    what follows of the result must be borne out by a run, or by reading the code again.

    >>> from atrous.network import Builder
    >>> b = Builder()
    >>> x = b.input("x", (1, 3, 32, 32))
    >>> net = b.build(b.conv(x, 8, 3, stride=2, padding=1))
    >>> resized(net, ((1, 3, 65, 65),)).nodes[0].output.shape
    (1, 8, 33, 33)
    """
    found = resized_or_refused(network, shapes)
    return found if isinstance(found, Network) else None


def resized_or_refused(network: Network, shapes: Shapes) -> Network | str | None:
    """As `resized`; where a window does not fit into its map, what it says.

    >>> from atrous.network import Builder
    >>> b = Builder()
    >>> net = b.build(b.conv(b.input("x", (1, 3, 32)), 8, 5))
    >>> resized_or_refused(net, ((1, 3, 4),))
    'a window of kernel 5 spans 5 inputs, got 4 with padding 0; pad by 1.'
    """
    held: dict[str, Tensor] = {}
    if len(network.inputs) != len(shapes):
        return None
    for tensor, shape in zip(network.inputs, shapes, strict=True):
        made = _input(tensor, shape)
        if made is None:
            return None
        held[tensor.name] = made
    nodes: list[Node] = []
    for node in network.nodes:
        inputs = tuple(held[name] for name in node.inputs)
        if not _is_free(node, network):
            return None
        try:
            nodes.append(remade(node, node.op, inputs))
        except AtrousError as error:
            return str(error).splitlines()[0] if isinstance(node.op, _WINDOWS) else None
        held[node.output.name] = nodes[-1].output
    return Network(
        tuple(held[t.name] for t in network.inputs),
        tuple(nodes),
        network.outputs,
        network.params,
        network.name,
        network.notes,
    )


def _is_free(node: Node, network: Network) -> bool:
    """Whether the operation is the same at every size of its map."""
    if node.opaque:
        return False
    if not node.output.grid and not any(network.tensor(name).grid for name in node.inputs):
        return True
    if isinstance(node.op, Mix):
        return node.op.label in _NORMS
    if isinstance(node.op, AdaptivePool):
        return all(size == 1 for size in node.op.sizes)
    return isinstance(node.op, _FREE)


def _input(tensor: Tensor, shape: Shape) -> Tensor | None:
    layout: list[Dim] = []
    for dim, size in zip(tensor.layout, shape, strict=True):
        if has_axes(dim) and len(dim) == 1:
            layout.append((replace(dim[0], size=size),))
        else:
            layout.append(dim)
    made = replace(tensor, layout=tuple(layout))
    return made if made.shape == tuple(shape) else None
