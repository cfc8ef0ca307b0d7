"""Paddings folded into the windows behind them, where one module does both."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from atrous.errors import AtrousError
from atrous.network import Network, Node
from atrous.network.ops import Conv, Pad, Pool
from atrous.network.walk import remade, window_axes

__all__ = ["PAD", "folded"]

PAD = "atrous_pad"
"""What the names of paddings begin with that a conversion puts into a module's code."""


def folded(network: Network, *, around: bool = False) -> Network:
    """The network with `pad, then conv or pool` as one window, within one module.

    So a layer that pads its own input, as modules with TensorFlow's SAME do, is one layer again;
    with `around` also one that the code around it pads for, or a module of padding inside it.
    What the window reads is the same; only the padding's place differs.

    >>> from atrous.geometry import Window
    >>> from atrous.network import Builder
    >>> b = Builder()
    >>> x = b.input("x", (1, 3, 8, 8))
    >>> padded = b.add(Pad(((0, 1), (0, 1))), x, name="stem.pad", module="stem")
    >>> conv = Conv((Window(3, 2), Window(3, 2)), 4)
    >>> net = folded(b.build(b.add(conv, padded, name="stem", module="stem")))
    >>> len(net.nodes), net.nodes[0].op.windows[0].pad_hi
    (1, 1)
    """
    users = Counter(name for node in network.nodes for name in node.inputs)
    users.update(network.outputs)
    gone: set[str] = set()
    nodes: list[Node] = []
    for node in network.nodes:
        pad = network.maker(node.inputs[0]) if node.inputs else None
        if pad is not None and users[pad.output.name] == 1 and _belongs(pad, node, around):
            joined = _joined(network, pad, node)
            if joined is not None:
                gone.add(pad.name)
                node = joined
        nodes.append(node)
    if not gone:
        return network
    return replace(network, nodes=tuple(node for node in nodes if node.name not in gone))


def _belongs(pad: Node, node: Node, around: bool) -> bool:
    return (
        isinstance(pad.op, Pad)
        and pad.op.mode == "constant"
        and isinstance(node.op, Conv | Pool)
        and pad.op.value == _neutral(node.op)
        and (
            pad.module == node.module
            or _own(pad.module) == node.module
            or (around and _pads_for(pad, node))
        )
    )


def _pads_for(pad: Node, node: Node) -> bool:
    """Whether the code that calls a layer pads for it, or a module inside the layer does."""
    if isinstance(node.op, Pool) and node.op.how != "max":
        return False
    return (
        pad.module == node.module.rpartition(".")[0] or pad.module.rpartition(".")[0] == node.module
    )


def _neutral(op: Conv | Pool) -> float:
    """What an op's own padding is filled with, as far as its result shows."""
    return float("-inf") if isinstance(op, Pool) and op.how == "max" else 0.0


def _own(module: str) -> str | None:
    """The module in whose code a conversion put this padding; None for any other."""
    path, _, name = module.rpartition(".")
    return path if name.startswith(PAD) else None


def _joined(network: Network, pad: Node, node: Node) -> Node | None:
    assert isinstance(pad.op, Pad)
    assert isinstance(node.op, Conv | Pool)
    x = network.tensor(pad.inputs[0])
    count = len(node.op.windows)
    if len(pad.op.pads) > count:
        return None
    op = node.op
    if isinstance(op, Pool) and op.how == "average" and not op.count_include_pad:
        if any(map(any, op.padding)):
            return None
        # What is padded before the pool lies inside the map that the pool sees.
        op = replace(op, count_include_pad=True)
    pads = ((0, 0),) * (count - len(pad.op.pads)) + pad.op.pads
    for w, (lo, hi) in zip(node.op.windows, pads, strict=True):
        if lo < 0 < w.pad_lo or hi < 0 < w.pad_hi:
            return None  # what is cropped is gone, and zeros stand in its place
        if isinstance(op, Pool) and op.ceil and hi:
            return None  # a partial window may begin in what is padded here
    windows = tuple(
        replace(w, pad_lo=w.pad_lo + lo, pad_hi=w.pad_hi + hi)
        for w, (lo, hi) in zip(node.op.windows, pads, strict=True)
    )
    inputs = (x, *(network.tensor(name) for name in node.inputs[1:]))
    try:
        window_axes(replace(node, op=replace(op, windows=windows)), x)
        made = remade(node, replace(op, windows=windows), inputs)
    except (AtrousError, ValueError):
        return None
    return replace(made, inputs=(pad.inputs[0], *node.inputs[1:]))
