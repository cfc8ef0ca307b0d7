"""Paddings that the code around a layer works out for it, taken out of that code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from torch import nn
from torch.fx import Graph, Node
from torch.nn import functional

from atrous.geometry import Dense
from atrous.network.ops import Conv, Pool
from atrous.refusal import Refusal
from atrous.writers.torch.modules import Layer, does_as_meant
from atrous.writers.torch.recoded import recoded
from atrous.writers.torch.sized import arguments_of, enlarged, traced_at

__all__ = ["pads_around", "unpadded"]

_NAMES = ("input", "pad", "mode", "value")
Seen = list[tuple[int, tuple[int, int]]]
"""By how much a map of which length is padded along one axis."""


def pads_around(layer: Layer) -> bool:
    """Whether a layer pads less by itself than its window has: the code around it does the rest.

    `shape` of the layer is that of its input before the conversion.
    """
    module, op = layer.module, layer.change.before
    given: Any = getattr(module, "padding", None)
    if not isinstance(op, Conv | Pool) or not isinstance(given, int | tuple):
        return False
    own = given if isinstance(given, tuple) else (given,) * len(op.windows)
    if module._forward_pre_hooks or [(n, n) for n in own] == list(op.padding):
        return False
    return not does_as_meant(module, layer.shape, op)


def unpadded(
    model: nn.Module, path: str, shapes: Sequence[Sequence[int]], dense: Sequence[Dense]
) -> tuple[nn.Module, tuple[Dense, ...]] | Refusal:
    """The module around the layer `path` with code that no longer pads for it, and the windows.

    The dense windows name a padding that follows the size of the map. Refused where the code is no
    plain padding with zeros in front of the layer, by numbers or as TensorFlow's SAME: under the
    rule `padding` where it surely is not.
    """
    around, _, name = path.rpartition(".")
    root = model.get_submodule(around)
    arguments = arguments_of(model, around, shapes)
    if arguments is None:
        return _unclear(path, root, "takes more than tensors")
    seen: list[Seen] = [[] for _ in dense]
    kept: Graph | None = None
    for more in range(max(one.window.stride for one in dense) + 1):
        grown = [enlarged(t, len(dense), more) for t in arguments]
        try:
            graphs = [traced_at(root, grown, training=mode) for mode in (False, True)]
        except Exception as error:
            line = (str(error).strip().splitlines() or [""])[0]
            return _unclear(path, root, f"cannot be traced ({type(error).__name__}: {line[:120]})")
        pads = [pad for graph in graphs for pad in _pads_before(graph, name)]
        if not pads:
            return _unclear(path, root, "does not pad with zeros in front of every call of it")
        for pad in pads:
            for axis, found in enumerate(seen):
                found.append(_padding(pad, axis - len(dense)))
            pad.replace_all_uses_with(_arguments(pad)["input"])
            pad.graph.erase_node(pad)
        if len({str(graph) for graph in (*graphs, kept or graphs[0])}) > 1:
            return _unclear(path, root, "does something else at another size, or in training")
        kept = graphs[0]
    windows = tuple(map(_named, dense, seen))
    if None in windows:
        return _unclear(path, root, "pads by a rule of its own", "padding")
    assert kept is not None
    made = recoded(root, kept, {}, whole=not around)
    made.train(root.training)
    return made, tuple(one for one in windows if one is not None)


def _unclear(path: str, root: nn.Module, why: str, rule: str = "code") -> Refusal:
    return Refusal(
        rule,
        path,
        f"the code of {type(root).__name__} around it pads for it and {why}; pad by the layer's "
        "own padding, by nn.ZeroPad2d, or as TensorFlow's SAME from sizes alone.",
    )


def _named(one: Dense, seen: Seen) -> Dense | None:
    """The window with the rule of its padding; None where it follows none.

    Fixed, as TensorFlow's SAME, or fixed in front and behind what completes the last window, as
    causal codecs have it: that counts a partial window.
    """
    if len({pads for _, pads in seen}) == 1:
        return one
    same = replace(one, window=one.window.unpadded, same="same_upper", padded=0)
    own = replace(same, factor=1, stride=one.window.stride)
    if all(own.original(n).padding == pads for n, pads in seen):
        return same
    low = seen[0][1][0]
    window = replace(one.window, pad_lo=low, pad_hi=0)
    for n, pads in seen:
        reach = (window.output_length(n, True) - 1) * window.stride + window.extent
        if pads != (low, max(reach - low - n, 0)):
            return None
    return replace(one, window=window, ceil=True, padded=0)


def _pads_before(graph: Graph, name: str) -> list[Node]:
    """The padding in front of each call of a child; none where one call has no such."""
    found = []
    for node in graph.nodes:
        if node.op != "call_module" or node.target != name:
            continue
        pad = node.args[0] if node.args else None
        if not isinstance(pad, Node) or pad.target is not functional.pad or len(pad.users) > 1:
            return []
        held = _arguments(pad)
        if held["mode"] not in (None, "constant") or held["value"]:
            return []
        found.append(pad)
    return found


def _arguments(pad: Node) -> dict[str, Any]:
    found = dict.fromkeys(_NAMES)
    found.update(zip(_NAMES, pad.args, strict=False))
    found.update(pad.kwargs)
    return found


def _padding(pad: Node, dim: int) -> tuple[int, tuple[int, int]]:
    """How long a map is along a dimension, and how much is padded there."""
    held = _arguments(pad)
    first = 2 * (-dim - 1)  # the last dimension comes first
    flat = [int(n) for n in (*held["pad"], *(0,) * (first + 2))]
    return int(held["input"].meta["made"].shape[dim]), (flat[first], flat[first + 1])
