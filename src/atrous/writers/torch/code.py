"""A plan's changes inside a module's own code: its forward traced, and the calls in it edited."""

from __future__ import annotations

import operator
from collections.abc import Callable, Collection, Sequence
from typing import Any

import torch
from torch import nn
from torch.fx import Graph, GraphModule, Node, Tracer
from torch.nn import functional

from atrous.conversion.edits import Edit
from atrous.conversion.plan import OpChange
from atrous.frameworks.torch import in_mode
from atrous.geometry import torch_pads
from atrous.network import Node as Layer
from atrous.network.folded_pads import PAD
from atrous.network.ops import Conv, Op, Pad, Pool, Slice
from atrous.refusal import Refusal
from atrous.writers.torch.joins import Join, edit_joins
from atrous.writers.torch.layers import AvgPool, Count, DensePad, PhasePad
from atrous.writers.torch.recoded import module_call, recoded
from atrous.writers.torch.sized import enlarged, traced_at

__all__ = ["rewrite_code"]

_CONVS = {functional.conv1d, functional.conv2d, functional.conv3d}
_MAX = {functional.max_pool1d, functional.max_pool2d, functional.max_pool3d}
_MAX |= {torch.max_pool1d, torch.max_pool2d, torch.max_pool3d}
_AVG = {functional.avg_pool1d, functional.avg_pool2d, functional.avg_pool3d, torch.avg_pool1d}
_ARGUMENTS: dict[str, tuple[str, ...]] = {
    "conv": ("input", "weight", "bias", "stride", "padding", "dilation", "groups"),
    "max": ("input", "kernel_size", "stride", "padding", "dilation", "ceil_mode", "return_indices"),
    "average": (
        "input",
        "kernel_size",
        "stride",
        "padding",
        "ceil_mode",
        "count_include_pad",
        "divisor_override",
    ),
    "pad": ("input", "pad", "mode", "value"),
}


class _Tracer(Tracer):
    """Traces one module's own code; the modules that it calls stay whole, but for some."""

    def __init__(self, inside: Collection[nn.Module] = ()) -> None:
        super().__init__(param_shapes_constant=True)
        self._inside = {id(module) for module in inside}

    def is_leaf_module(self, m: nn.Module, _qualified_name: str) -> bool:
        return id(m) not in self._inside


def rewrite_code(
    root: nn.Module,
    path: str,
    layers: Sequence[Layer],
    changes: Sequence[OpChange | None],
    inside: Sequence[nn.Module] = (),
    joins: Sequence[Join] = (),
    arguments: Callable[[], Sequence[torch.Tensor] | None] = tuple,
) -> tuple[GraphModule, list[Edit]] | Refusal:
    """The module as a `GraphModule` in which the changes are made, its state dict's keys kept.

    `layers` are the windowed operations that its own code runs (and that of the modules `inside`
    it), in the order in which they run, and `changes` what becomes of each, or None; `joins` are
    the joins that it performs. Code that computes with sizes is traced at those of its
    `arguments`, if it does the same at others. Code that runs several times has them as often.
    Refused where the code cannot be traced, does not run these operations, or would have to differ
    from run to run (`calls`).
    """
    name = path or type(root).__name__
    try:
        graphs = [_trace_of(root, inside, training=mode) for mode in (False, True)]
    except Exception as error:
        sized = _at_any_size(root, inside, layers, arguments())
        if isinstance(sized, str) or not sized:
            why = sized or f"torch.fx cannot trace it ({_line(error)})"
            return Refusal(
                "code",
                name,
                f"the code of {type(root).__name__} {_does(changes)} and {why}; use modules for "
                f"{_what(changes)}.",
            )
        graphs = sized
    if str(graphs[0]) != str(graphs[1]):
        return Refusal(
            "code",
            name,
            f"the code of {type(root).__name__} does something else in training; use modules such "
            "as nn.Dropout for what differs.",
        )
    graph = graphs[0]
    runs = _runs(graph, layers)
    size = len(layers) // runs
    held = [() if change is None else change.dense for change in changes]
    for index in range(size, len(layers)):
        if held[index] != held[index % size]:
            why = "its code runs several times, to other ends; give each run a module of its own."
            return Refusal("calls", layers[index].name, why)
    layers, changes = layers[:size], changes[:size]
    steps = _traced_calls(root, graph, layers)
    if isinstance(steps, str):
        return Refusal("code", name, f"the code of {type(root).__name__} {steps}.")
    extra: dict[str, nn.Module] = {}
    edits: list[Edit] = []
    joined: list[Edit] = []
    refusal = edit_joins(graph, joins, extra, joined)
    if refusal is not None:
        return refusal
    for step, layer, change in zip(steps, layers, changes, strict=True):
        if change is None:
            continue
        reason = _edit_call(root, graph, step, layer, change, extra, edits)
        if reason:
            return Refusal("code", layer.name, reason)
    graph.eliminate_dead_code(lambda node: not _is_padding(node))
    made = recoded(root, graph, extra, whole=not path)
    made.train(root.training)
    return made, [Edit(name, "class", type(root).__name__, type(made).__name__), *edits, *joined]


def _at_any_size(
    root: nn.Module,
    inside: Sequence[nn.Module],
    layers: Sequence[Layer],
    arguments: Sequence[torch.Tensor] | None,
) -> list[Graph] | str:
    """Traces in both modes at given sizes; none without them, and why where others differ."""
    rank = len(layers[0].output.grid) if layers else 0
    if not arguments or not rank:
        return []
    found: list[Graph] = []
    try:
        for more in (0, 1, 2, 3):
            at = [enlarged(t, rank, more) for t in arguments]
            made = [traced_at(root, at, training=m, inside=inside) for m in (False, True)]
            found = found or made
            if [str(graph) for graph in made] != [str(graph) for graph in found]:
                return "works with numbers that follow the size of its input"
    except Exception:
        return []
    return found


def _does(changes: Sequence[OpChange | None]) -> str:
    strided = "calls functions with strides of their own"
    return strided if any(changes) else "joins maps that no longer fit"


def _what(changes: Sequence[OpChange | None]) -> str:
    return "pools and convolutions" if any(changes) else "joins"


def _runs(graph: Graph, layers: Sequence[Layer]) -> int:
    """How often the code runs, by how often the network has what it calls."""
    calls = [_kind(node) for node in graph.nodes for _ in range(_cuts(node))]
    kinds = [_wanted(layer.op) for layer in layers]
    # Paddings are often folded into what is behind them.
    held = [kind for kind in dict.fromkeys(kinds) if kind != "pad"] or ["pad"]
    found = {kinds.count(kind) / max(calls.count(kind), 1) for kind in held}
    often = found.pop()
    return int(often) if not found and often >= 1 and often.is_integer() else 1


def _trace_of(root: nn.Module, inside: Sequence[nn.Module], *, training: bool) -> Graph:
    with in_mode(root, training=training):
        return _Tracer(inside).trace(root)


def _line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:120]}" if lines else type(error).__name__


def _kind(node: Node) -> str:
    if node.op != "call_function":
        return ""
    if node.target in _CONVS:
        return "conv"
    if node.target in _MAX:
        return "max"
    if node.target in _AVG:
        return "average"
    if node.target is functional.pad:
        pads = _bound(node, "pad")["pad"]
        return "pad" if not isinstance(pads, list | tuple) or any(pads) else ""
    if node.target is operator.getitem and _cut_dims(node.args[1]):
        return "slice"
    return ""


def _wanted(op: Op) -> str:
    if isinstance(op, Pool):
        return "max" if op.how == "max" else "average"
    return {Conv: "conv", Pad: "pad", Slice: "slice"}.get(type(op), "")


def _cut_dims(index: Any) -> int:
    """How many dimensions an indexing cuts; of those that it takes one place of, one alone."""
    items = index if isinstance(index, tuple) else (index,)
    cut = sum(isinstance(item, slice) and item != slice(None) for item in items)
    places = sum(type(item) is int for item in items) if isinstance(index, tuple) else 0
    return cut or int(places == 1)


def _bound(node: Node, kind: str) -> dict[str, Any]:
    names = _ARGUMENTS[kind]
    found = dict(zip(names, node.args, strict=False))
    found.update(node.kwargs)
    return {name: found.get(name) for name in names}


def _traced_calls(root: nn.Module, graph: Graph, layers: Sequence[Layer]) -> list[Node] | str:
    """The traced call of each layer, kind by kind in order; or in which way they differ."""
    found: dict[str, list[Node]] = {}
    for node in graph.nodes:
        kind = _kind(node)
        if kind:
            found.setdefault(kind, []).append(node)
    taken: dict[str, int] = {}
    out: dict[int, Node] = {}
    # Paddings last: one that is folded into the window behind it is no layer of its own.
    order = sorted(range(len(layers)), key=lambda i: isinstance(layers[i].op, Pad))
    folded: set[Node | None] = set()
    for place in order:
        kind = _wanted(layers[place].op)
        nodes = [node for node in found.get(kind, []) if node not in folded]
        if kind == "slice":
            # One indexing may cut several dimensions.
            nodes = [n for n in nodes for _ in range(_cuts(n))]
        index = taken.get(kind, 0)
        if index >= len(nodes):
            return f"does not call as many functions ({kind}) as the network has layers"
        out[place] = nodes[index]
        taken[kind] = index + 1
        folded.add(_folded_pad(root, nodes[index], layers[place].op))
    return [out[place] for place in range(len(layers))]


def _cuts(node: Node) -> int:
    return _cut_dims(node.args[1]) if _kind(node) == "slice" else 1


def _feeds(pad: Node) -> bool:
    if _kind(pad) != "pad":
        return False
    users = list(pad.users)
    held = _bound(pad, "pad")
    if held["mode"] not in (None, "constant") or len(users) != 1:
        return False
    neutral = float("-inf") if _kind(users[0]) == "max" else 0.0
    return _kind(users[0]) in ("conv", "max", "average") and (held["value"] or 0.0) == neutral


def _folded_pad(root: nn.Module, step: Node, op: Op) -> Node | None:
    """The call that pads the input of a window, where the window has that padding folded in."""
    if not isinstance(op, Conv | Pool):
        return None
    held = _bound(step, _wanted(op))
    source = held["input"]
    if not isinstance(source, Node) or not (_feeds(source) or _is_padding_module(root, source)):
        return None
    padding: Any = held["padding"]
    if not isinstance(padding, str):
        given = padding if isinstance(padding, list | tuple) else [padding]
        padding = [n if isinstance(n, int) else 0 for n in given]
    return source if torch_pads(padding, op.kernel, op.dilation) != op.padding else None


def _is_padding_module(root: nn.Module, node: Node) -> bool:
    """Whether a call is of a module of PyTorch that pads with a constant."""
    if node.op != "call_module" or len(node.users) != 1:
        return False
    module = dict(root.named_modules()).get(str(node.target))
    return isinstance(module, nn.modules.padding._ConstantPadNd)


def _is_ours(root: nn.Module, node: Node) -> bool:
    """True for the padding that an earlier conversion put in front of a call."""
    return node.op == "call_module" and isinstance(getattr(root, str(node.target), None), DensePad)


def _edit_call(
    root: nn.Module,
    graph: Graph,
    step: Node,
    layer: Layer,
    change: OpChange,
    extra: dict[str, nn.Module],
    edits: list[Edit],
) -> str:
    kind = _wanted(change.before)
    if kind == "slice":
        return _edit_slice(step, layer, change, edits)
    arguments = _bound(step, kind)
    if kind == "pad":
        return _edit_pad(graph, step, change, arguments, extra, edits)
    assert isinstance(change.after, Conv | Pool)
    dense = change.at_any_size
    source = arguments["input"]
    folded = _folded_pad(root, step, layer.op)
    if folded is not None:
        source = folded.args[0] if folded.args else folded.kwargs["input"]
    elif isinstance(source, Node) and _is_ours(root, source):
        source = source.args[0]
    if kind == "average":
        # A padding that was folded in is part of the map that the pool averages.
        whole = isinstance(change.before, Pool) and change.before.count_include_pad
        held_in: Count = "padded" if whole else "inside"
        pool = AvgPool(dense, held_in, arguments["divisor_override"])
        _replace(graph, step, module_call(graph, step, (source,), pool, "pool", extra))
        edits.append(Edit(layer.name, "function", "avg_pool", str(pool)))
        return ""
    windows = [one.fixed for one in dense]
    held = [w for w in windows if w is not None and w.pad_lo == w.pad_hi]
    if len(held) < len(dense) or (kind == "max" and any(w.pad_lo > w.kernel // 2 for w in held)):
        value = float("-inf") if kind == "max" else 0.0
        source = module_call(graph, step, (source,), DensePad(dense, value), "pad", extra)
        held = [one.unpadded for one in dense]
        edits.append(Edit(layer.name, "input padding", None, str(extra[source.target])))
    named = {
        "stride": tuple(w.stride for w in held),
        "padding": tuple(w.pad_lo for w in held),
        "dilation": tuple(w.dilation for w in held),
    }
    before = {name: arguments[name] for name in named}
    arguments.update(named, input=source)
    if kind == "max":
        arguments["ceil_mode"] = False
        arguments["return_indices"] = arguments["return_indices"] or False
    else:
        arguments["groups"] = 1 if arguments["groups"] is None else arguments["groups"]
    step.args = (arguments.pop("input"), arguments.pop(_ARGUMENTS[kind][1]))
    step.kwargs = arguments
    edits += [
        Edit(layer.name, name, before[name], value)
        for name, value in named.items()
        if before[name] != value
    ]
    return ""


def _edit_pad(
    graph: Graph,
    step: Node,
    change: OpChange,
    arguments: dict[str, Any],
    extra: dict[str, nn.Module],
    edits: list[Edit],
) -> str:
    before, after = change.before, change.after
    assert isinstance(before, Pad)
    assert isinstance(after, Pad)
    flat = arguments["pad"]
    if not isinstance(flat, list | tuple) or not all(isinstance(n, int) for n in flat):
        return "its padding is worked out from the size of its input; use a padding module."
    if after.phases:
        factors = [one.factor for one in change.dense]
        pad = PhasePad(before.pads, factors, after.mode)
        source = module_call(graph, step, (arguments["input"],), pad, "pad", extra)
        _replace(graph, step, source)
        edits.append(Edit(change.node, "function", f"pad({list(flat)})", str(pad)))
        return ""
    wanted = [n for lo, hi in reversed(after.pads) for n in (lo, hi)]
    # Dimensions before the first padded one stay as they are written.
    wanted += [0] * (len(flat) - len(wanted))
    arguments["pad"] = wanted
    mode = arguments["mode"] or "constant"
    step.args = (arguments["input"], wanted)
    step.kwargs = {"mode": mode, "value": arguments["value"]}
    edits.append(Edit(change.node, "padding", list(flat), wanted))
    return ""


def _edit_slice(step: Node, layer: Layer, change: OpChange, edits: list[Edit]) -> str:
    before, after = change.before, change.after
    assert isinstance(before, Slice)
    assert isinstance(after, Slice)
    index: Any = step.args[1]
    items = list(index) if isinstance(index, tuple) else [index]
    rank = len(layer.output.shape) + before.drop
    if Ellipsis in items:
        at = items.index(Ellipsis)
        items[at : at + 1] = [slice(None)] * (rank - len(items) + 1)
    if before.drop and before.dim < len(items) and _counts_from_start(items[before.dim]):
        edits.append(Edit(change.node, "slice", str(items[before.dim]), str(after.start)))
        items[before.dim] = after.start
        step.args = (step.args[0], tuple(items))
        return ""
    if before.dim >= len(items) or not isinstance(items[before.dim], slice):
        return "it picks positions in a way that cannot be edited; use a strided slice."
    was = items[before.dim]
    if isinstance(was.start, Node) or isinstance(was.stop, Node) or isinstance(was.step, Node):
        return (
            "it is cut at places that are worked out from sizes; pad by negative numbers instead."
        )
    if (was.start or 0) < 0 or ((was.stop or 0) < 0 and not change.dense):
        return "it is cut from its end; pad by negative numbers instead (F.pad), or cut elsewhere."
    stop: int | None = None
    if was.stop is not None and was.stop < 0:
        stop = was.stop * change.dense[0].factor
    elif was.stop is not None:
        stop = after.start + (after.length - 1) * after.step + 1
    elif change.dense and change.dense[0].window.pad_hi < 0:
        stop = change.dense[0].factor * change.dense[0].window.pad_hi
    items[before.dim] = slice(after.start or None, stop, after.step)
    step.args = (step.args[0], tuple(items))
    edits.append(Edit(change.node, "slice", str(was), str(items[before.dim])))
    return ""


def _counts_from_start(item: Any) -> bool:
    """Whether an index is of one place, counted from the start."""
    return type(item) is int and item >= 0


def _is_padding(node: Node) -> bool:
    """True of paddings: unused they were folded into the windows behind them."""
    ours = node.op == "call_module" and str(node.target).startswith(PAD)
    return ours or node.target is functional.pad


def _replace(graph: Graph, old: Node, new: Node) -> None:
    old.replace_all_uses_with(new)
    graph.erase_node(old)
