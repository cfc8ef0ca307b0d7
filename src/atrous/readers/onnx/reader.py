"""ONNX files into networks: translates node by node, folds what is constant, names what is not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING

from atrous.errors import AtrousError, ReadError, concerning
from atrous.network import Builder, Network, Tensor
from atrous.network.ops import Constant, Elementwise
from atrous.plugins import extensions
from atrous.readers.call import NotUnderstood, network_of
from atrous.readers.foreign import name_of
from atrous.readers.onnx import layout, math, places, quantized, resampling, sampled, windows
from atrous.readers.onnx.call import TRANSLATIONS, OnnxCall, Result
from atrous.readers.onnx.constants import Folder, Inferred, infer, literal, measured
from atrous.readers.onnx.file import Source, check, dense_constant, load, sparse_constant, subgraphs
from atrous.readers.onnx.graph import (
    MAX_NESTING,
    Ordered,
    captured,
    inlined,
    layer_name,
    one_line,
    ordered,
)
from atrous.readers.onnx.inputs import Input, Inputs, Shape, Values, fixed
from atrous.readers.onnx.loops import MOST_COPIES, unrolled
from atrous.readers.onnx.names import Provenance
from atrous.readers.onnx.sequences import SEQUENCES, follow_sequence
from atrous.readers.onnx.values import Const, Live, Value, itemsize

if TYPE_CHECKING:
    import onnx

__all__ = ["Followed", "follow_onnx", "read_onnx"]

_REGISTERED = (layout, math, places, quantized, resampling, sampled, windows)

# Where an operator of another domain has a name of the default one, it means the same.
_DOMAINS = ("", "ai.onnx", "com.microsoft")
_CUTS = ("Expand", "Gather", "GatherElements", "GatherND", "Slice", "Split", "Tile")
_CONTROL = ("If", "Loop", "Scan", "SequenceMap")


def read_onnx(
    source: str | Path | onnx.ModelProto,
    input: Input = None,
    values: Values = None,
    *,
    weights: bool = False,
) -> Network:
    """The network in an ONNX file.

    `input` gives the sizes that the file leaves open: one shape, one for each input, or a mapping
    from names of inputs to shapes and of open dimensions to sizes; None where there are none but
    the batch. `values` has numbers for inputs that decide what runs (a sample rate); they are
    constants then. Weights are not loaded, unless `weights` asks for the taps of 0 to be left out
    of what layers read. An operator
    that is not understood becomes an opaque node; where not even the shape of its output is known,
    all that follows is opaque as well, with shape `()`. Raises `ReadError` for a file that cannot
    be read; every error names the file, and the layer where there is one.
    """
    if isinstance(source, str | Path):
        label = name_of(Path(source))
    else:
        label = source.graph.name[:80] or "ONNX model"
    with _concerning_file(label):
        return _followed(load(source), label, input, values, weights).network


@dataclass(frozen=True, slots=True)
class Followed:
    """A network, and what each name in the file stands for: a constant or one of its tensors."""

    network: Network
    values: Mapping[str, Value]


def follow_onnx(source: Source, input: Input = None) -> Followed:
    """The network in a loaded file, as `read_onnx` has it, with the values by the file's names."""
    with _concerning_file(source.label):
        return _followed(source, source.label, input)


def _followed(
    source: Source, label: str, input: Input, given: Values = None, weights: bool = False
) -> Followed:
    """The network and the values behind it, by one pass over the file's nodes."""
    file = _File(source, given, weights)
    inputs = Inputs(file.inputs, input, given or ())
    values: dict[str, Value] = {}

    def translate(builder: Builder, tensors: Mapping[str, Tensor]) -> list[Tensor]:
        translation = _Translation(file, inputs, builder)
        outputs = translation.run(tensors)
        values.clear()
        values.update(translation.values)
        return outputs

    itemsizes = {name: itemsize(file.types.get(name, 1)) for name in inputs.shapes}
    network = network_of(label, inputs.shapes, itemsizes, translate, inputs.notes)
    return Followed(network, values)


@contextmanager
def _concerning_file(label: str) -> Iterator[None]:
    """Errors raised inside lead with the file, then with the layer that they name."""
    try:
        yield
    except AtrousError as error:
        error.subject = label if error.subject is None else f"{label}: {error.subject}"
        raise


class _File:
    """What a file holds before shapes are known: its nodes in order and its constants."""

    def __init__(self, source: Source, given: Values, weights: bool) -> None:
        check(source)
        self.weights = weights
        self.source = source
        self.opsets = source.opsets
        self.graph = inlined(source.model).graph
        self.provenance = Provenance(self.graph)
        self.folder = Folder(self.opsets)
        self.constants = self.initialisers(self.graph)
        self.order = ordered(self.graph, ())
        asked = [item for item in self.graph.input if item.name not in self.constants]
        self.constants.update(fixed(asked, given))
        self.inputs = [item for item in asked if item.name not in self.constants]
        self.types = {i.name: i.type.tensor_type.elem_type for i in self.inputs}
        orders = [
            attribute.ints
            for node in self.order.nodes
            if node.op_type == "Transpose"
            for attribute in node.attribute
            if attribute.name == "perm"
        ]
        self.moves_batch = any(len(order) == 4 and order[0] != 0 for order in orders)

    def initialisers(self, graph: onnx.GraphProto) -> dict[str, Value]:
        """The constants of a graph, with what is known about each as a parameter."""
        found: dict[str, Value] = {}
        for tensor in graph.initializer:
            if tensor.name in found:
                raise ReadError(f"the initialiser {tensor.name[:80]!r} is there twice.")
            found[tensor.name] = dense_constant(tensor, self.source, self.provenance.is_parameter)
        for item in graph.sparse_initializer:
            found[item.values.name] = sparse_constant(item)
        return found


class _Translation:
    """One pass over a file's nodes with a builder."""

    def __init__(self, file: _File, inputs: Inputs, builder: Builder) -> None:
        self._file = file
        self._inputs = inputs
        self._builder = builder
        self._count = 0
        self._copies = MOST_COPIES
        self.values: dict[str, Value] = {}

    def run(self, tensors: Mapping[str, Tensor]) -> list[Tensor]:
        """The tensors that the graph's outputs are."""
        file = self._file
        if not file.graph.output:
            raise ReadError("has no output.")
        values: dict[str, Value] = dict(file.constants)
        for name, tensor in tensors.items():
            values[name] = Live(tensor, file.types.get(name) or 1)
        self._nodes(file.graph, file.order, values, 0)
        self.values.update(values)
        return [self._output(values[item.name], item.name) for item in file.graph.output]

    def _output(self, value: Value, name: str) -> Tensor:
        """An output of the graph as a tensor; a constant becomes a node."""
        if isinstance(value, Live):
            return value.tensor
        return self._builder.add(Constant(value.shape), name=name[:200], params=value.params)

    def _nodes(
        self, graph: onnx.GraphProto, order: Ordered, values: dict[str, Value], depth: int
    ) -> None:
        """Every node of a graph in order; `values` holds what its names stand for."""
        recorded = self._inputs.recorded(graph)
        for node in order.nodes:
            label = layer_name(node, self._count)
            self._count += 1
            used = [bool(name) and name in order.read for name in node.output]
            with concerning(label):
                if node.op_type in _CONTROL or any(True for _ in subgraphs(node)):
                    made = self._control(node, label, values, used, recorded, depth)
                else:
                    made = self._node(node, label, values, used, recorded)
            for name, value, wanted in zip_longest(node.output, made, used):
                if not name:
                    continue
                if value is not None:
                    values[name] = value
                elif wanted:
                    raise ReadError(f"{label}: its output {name[:80]!r} is not one that it has.")

    def _node(
        self,
        node: onnx.NodeProto,
        label: str,
        values: Mapping[str, Value],
        used: Sequence[bool],
        recorded: Mapping[str, Shape],
    ) -> Sequence[Value | None]:
        """What one node makes: folded if constant, opaque behind a shape that is not known."""
        inputs = [values[name] if name else None for name in node.input]
        live = [value for value in inputs if isinstance(value, Live)]
        if node.op_type in SEQUENCES and live:
            call = self._call(node, label, inputs, [(None, 0)] * len(used), used)
            made = follow_sequence(call)
            if made is not None:
                return [made]
        unknown = next((value.unknown for value in live if value.unknown), "")
        if unknown:
            call = self._call(node, label, inputs, [(None, 0)] * len(used), used)
            return [
                call.opaque_output(i, unknown, known=False) if u else None
                for i, u in enumerate(used)
            ]
        if node.op_type in ("Shape", "Size") and live:
            return [measured(node, live[0])]
        if not live:
            folded = self._folded(node, inputs)
            if all(value is not None for value, u in zip(folded, used, strict=False) if u):
                return folded
        shapes, complaint = infer(node, inputs, self._file.opsets)
        empty = _empty(node, inputs, shapes)
        if any(used) and all(value for value, u in zip(empty, used, strict=True) if u):
            return empty
        shapes = [
            (recorded.get(name) if shape is None else shape, dtype)
            for name, (shape, dtype) in zip(node.output, shapes, strict=True)
        ]
        return _translated(self._call(node, label, inputs, shapes, used), complaint)

    def _call(
        self,
        node: onnx.NodeProto,
        label: str,
        inputs: Sequence[Value | None],
        shapes: Inferred,
        used: Sequence[bool],
    ) -> OnnxCall:
        """The node as a call, at the version of the file's operators."""
        version = self._file.opsets.get("", 1)
        call = OnnxCall(self._builder, node, label, inputs, shapes, version, used)
        call.moves_batch, call.weights = self._file.moves_batch, self._file.weights
        return call

    def _folded(
        self, node: onnx.NodeProto, inputs: Sequence[Value | None]
    ) -> Sequence[Const | None]:
        """What a node of constants makes; None where not even its shape is known."""
        consts = [value if isinstance(value, Const) else None for value in inputs]
        if node.op_type == "Constant":
            return [literal(node, self._file.source)]
        if node.op_type in ("Shape", "Size") and consts and consts[0] is not None:
            return [measured(node, consts[0])]
        if node.op_type == "Identity":
            return consts
        return self._file.folder.fold(node, consts)

    def _control(
        self,
        node: onnx.NodeProto,
        label: str,
        values: dict[str, Value],
        used: Sequence[bool],
        recorded: Mapping[str, Shape],
        depth: int,
    ) -> Sequence[Value | None]:
        """What the branch makes that a constant condition takes; other control flow is opaque."""
        if depth >= MAX_NESTING:
            raise ReadError(f"nests graphs deeper than {MAX_NESTING}; that is not read.")
        inputs = [values[name] if name else None for name in node.input]
        condition = inputs[0] if node.op_type == "If" and inputs else None
        array = condition.array if isinstance(condition, Const) else None
        if array is not None and array.size:
            wanted = "then_branch" if array.reshape(-1)[0] else "else_branch"
            for attribute in node.attribute:
                if attribute.name == wanted and attribute.HasField("g"):
                    return self._branch(attribute.g, values, depth)
            raise ReadError(f"has no {wanted}.")
        if node.op_type == "If" and condition is not None:
            either = self._either(node, label, condition, values, used, depth)
            if either is not None:
                return either
        if node.op_type in ("Loop", "Scan") and node.domain in ("", "ai.onnx"):
            turned = self._turned(node, label, inputs, values, used, depth)
            if turned is not None:
                return turned
        # What the graphs inside read from around them, the node reads.
        around = [values[name] for g in subgraphs(node) for name in captured(g) if name in values]
        shapes: Inferred = [(recorded.get(name), 0) for name in node.output]
        call = self._call(node, label, [*inputs, *around], shapes, used)
        why = "is decided by data" if self._copies >= 0 else "is more than is followed"
        made: Sequence[Value] = call.opaque(f"what {node.op_type[:80]} runs {why}")
        return made

    def _either(
        self,
        node: onnx.NodeProto,
        label: str,
        condition: Value,
        values: dict[str, Value],
        used: Sequence[bool],
        depth: int,
    ) -> Sequence[Value | None] | None:
        """What either branch makes, where both make the same shapes; None where they do not.

        Each output reads what both branches read, and the condition. Costs are those of the branch
        that costs more.
        """
        graphs = {a.name: a.g for a in node.attribute if a.HasField("g")}
        if set(graphs) != {"then_branch", "else_branch"}:
            return None
        start, before = self._builder.mark(), dict(self.values)
        try:
            then = self._branch(graphs["then_branch"], values, depth)
            middle = self._builder.mark()
            other = self._branch(graphs["else_branch"], values, depth)
            shapes: Inferred = [(a.shape, a.dtype) if a else (None, 0) for a in then]
            call = self._call(node, label, [condition, *then, *other], shapes, used)
            made = [
                _met(call, i, [a, b]) if used[i] else None
                for i, (a, b) in enumerate(zip(then, other, strict=True))
            ]
        except (AtrousError, NotUnderstood, ValueError):
            # One that is never taken at these sizes may be no valid graph.
            self._builder.undo(start)
            self.values = before
            return None
        self._builder.cheaper(start, middle)
        call.note("one of two branches runs, by data: both are read, and costs are the dearer's")
        return made

    def _turned(
        self,
        node: onnx.NodeProto,
        label: str,
        inputs: Sequence[Value | None],
        values: dict[str, Value],
        used: Sequence[bool],
        depth: int,
    ) -> Sequence[Value | None] | None:
        """What a loop makes whose turns are known; None where they are not."""
        bodies = [a.g for a in node.attribute if a.name == "body" and a.HasField("g")]
        start, before = self._builder.mark(), dict(self.values)
        call = self._call(node, label, inputs, [(None, 0)] * len(used), used)

        def run(given: dict[str, Value]) -> Sequence[Value | None]:
            # What stands around is copied as well.
            self._copies -= len(body.node) + len(values) // 100
            if self._copies < 0:
                raise NotUnderstood("turns more often than is followed")
            return self._branch(body, values | given, depth)

        try:
            (body,) = bodies
            return unrolled(call, body, run)
        except (AtrousError, NotUnderstood, ValueError):
            self._builder.undo(start)
            self.values = before
            return None

    def _branch(
        self, graph: onnx.GraphProto, values: dict[str, Value], depth: int
    ) -> Sequence[Value | None]:
        """What a graph inside a node makes, given the names around it."""
        inside = {**values, **self._file.initialisers(graph)}
        self._nodes(graph, ordered(graph, values), inside, depth + 1)
        self.values.update(inside)
        return [inside[item.name] for item in graph.output]


def _met(call: OnnxCall, index: int, results: Sequence[Value | None]) -> Value:
    """Output `index` of two branches, as what reads either result, and the condition."""
    known = [value for value in results if value is not None]
    condition = call[0]
    live = [value for value in (condition, *known) if isinstance(value, Live)]
    shapes = {value.shape for value in known}
    if len(known) != len(results) or len(shapes) > 1 or any(value.unknown for value in live):
        raise NotUnderstood("its branches make different shapes")
    parts = [call.materialized(value) for value in known]
    parts += [condition.tensor] if isinstance(condition, Live) else []
    return Live(call.emit(Elementwise("if"), *parts, out=index), known[0].dtype)


def _empty(
    node: onnx.NodeProto, inputs: Sequence[Value | None], shapes: Inferred
) -> list[Const | None]:
    """The outputs that hold no element, which depend on nothing; None for the others.

    Only a part that is cut out may hold none, and what is made of one: elsewhere a size of 0 is a
    mistake of the file.
    """
    from_none = any(value is not None and 0 in value.shape for value in inputs)
    cut = from_none or node.op_type in _CUTS
    return [
        Const(name, shape, dtype or 1) if cut and shape is not None and 0 in shape else None
        for name, (shape, dtype) in zip(node.output, shapes, strict=True)
    ]


def _translated(call: OnnxCall, complaint: str) -> Sequence[Value | None]:
    """What the translation makes; a `ReadError` where the node breaks its definition."""
    try:
        made = call.translated(_by_translation)
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:
        if isinstance(error, AtrousError):
            raise
        # The translations rely on what the operator's definition promises.
        raise ReadError(f"is no valid {call.op}: {complaint or one_line(error)}.") from error
    results = made if isinstance(made, Sequence) else [made]
    return [_valued(call, i, value) for i, value in enumerate(results)]


def _by_translation(call: OnnxCall) -> Result | Sequence[Result]:
    """What the translation registered for the node makes."""
    domain = call.node.domain
    extensions("atrous.onnx_ops")
    # Other packages' operators are registered as `domain.Operator`.
    key = call.op if domain in _DOMAINS else f"{domain}.{call.op}"
    translation = TRANSLATIONS.get(key)
    if translation is None:
        owner = "" if domain in _DOMAINS[:2] else f"{domain[:40]}."
        raise NotUnderstood(f"the operator {owner}{call.op[:80]} is not known")
    return translation(call)


def _valued(call: OnnxCall, index: int, value: Tensor | Value | None) -> Value | None:
    """A tensor with its element type: as onnx infers it, else that of input 0."""
    if not isinstance(value, Tensor):
        return value
    first = call[0]
    return Live(value, call.dtype(index) or (first.dtype if first is not None else 1))
