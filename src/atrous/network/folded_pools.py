"""Crops of one map side by side, joined by their maximum or mean, as the pool that they are."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Literal

from atrous.geometry import Window
from atrous.network import Network, Node, Tensor
from atrous.network.ops import Elementwise, Pad, Pool
from atrous.network.walk import remade

__all__ = ["pooled"]

_JOINS: dict[str, Literal["max", "average"]] = {"maximum": "max", "average": "average"}


def pooled(network: Network) -> Network:
    """The network with `crops that lie a rate apart, then their maximum or mean` as one pool.

    Crop `j` of `k` takes `j * rate` off in front and `(k - 1 - j) * rate` behind, along one axis;
    pools of one kind along different axes, one behind the other, are one pool too. So a dilated
    pool that a framework does not have is one layer again.

    >>> from atrous.network import Builder
    >>> b = Builder()
    >>> x = b.input("x", (1, 3, 8))
    >>> taps = [b.add(Pad(((-2 * j, 2 * j - 4),)), x, name=f"tap{j}") for j in range(3)]
    >>> net = pooled(b.build(b.add(Elementwise("maximum"), *taps, name="pool")))
    >>> [(node.name, node.op.windows[0]) for node in net.nodes]
    [('pool', Window(kernel=3, stride=1, dilation=2, pad_lo=0, pad_hi=0))]
    """
    users = Counter(name for node in network.nodes for name in node.inputs)
    users.update(network.outputs)
    found = {node.output.name: node for node in network.nodes}
    gone: set[str] = set()
    for node in network.nodes:
        made = _joined_crops(network, node)
        if made is None:
            continue
        before = found.get(made.inputs[0])
        gone |= {name for name in node.inputs if users[name] == 1}
        if before is not None and users[before.output.name] == len(node.inputs):
            both = _both(network.tensor(before.inputs[0]), before, made)
            if both is not None:
                made = both
                gone.add(before.output.name)
        found[node.output.name] = made
    if all(found[node.output.name] is node for node in network.nodes):
        return network
    nodes = (found[node.output.name] for node in network.nodes)
    return replace(network, nodes=tuple(node for node in nodes if node.output.name not in gone))


def _joined_crops(network: Network, node: Node) -> Node | None:
    """The pool along one axis that a join of crops is; None where it is none."""
    if not isinstance(node.op, Elementwise) or node.op.label not in _JOINS or len(node.inputs) < 2:
        return None
    crops = [network.maker(name) for name in node.inputs]
    pads = [crop.op.pads for crop in crops if crop is not None and isinstance(crop.op, Pad)]
    kinds = {(crop.inputs, crop.kind) for crop in crops if crop is not None}
    if len(pads) < len(crops) or len(kinds) > 1 or len({len(p) for p in pads}) > 1:
        return None
    moved = [axis for axis in range(len(pads[0])) if any(any(p[axis]) for p in pads)]
    if len(moved) != 1:
        return None
    (axis,) = moved
    taps, rate = len(pads), -pads[1][axis][0]
    if rate < 1 or any(
        pad[axis] != (-j * rate, -(taps - 1 - j) * rate) for j, pad in enumerate(pads)
    ):
        return None
    windows = [Window(1)] * len(pads[0])
    windows[axis] = Window(taps, 1, rate)
    crop = crops[0]
    assert crop is not None
    x = network.tensor(crop.inputs[0])
    made = remade(node, Pool(tuple(windows), _JOINS[node.op.label]), (x,))
    return replace(made, inputs=(x.name,))


def _both(x: Tensor, first: Node, second: Node) -> Node | None:
    """Two pools of one kind along different axes as one; None where they are not."""
    one, two = first.op, second.op
    if not isinstance(one, Pool) or not isinstance(two, Pool) or one.how != two.how:
        return None
    if any(w.stride > 1 or any(w.padding) for w in one.windows):
        return None
    if len(one.windows) != len(two.windows) or any(
        a.kernel > 1 and b.kernel > 1 for a, b in zip(one.windows, two.windows, strict=True)
    ):
        return None
    windows = tuple(a if a.kernel > 1 else b for a, b in zip(one.windows, two.windows, strict=True))
    return replace(remade(second, replace(two, windows=windows), (x,)), inputs=(x.name,))
