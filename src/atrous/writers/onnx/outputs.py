"""The outputs of a rewritten ONNX graph, and the shapes that it states for its values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from atrous.readers.onnx.file import subgraphs
from atrous.readers.onnx.graph import captured, graphs
from atrous.readers.onnx.reader import Followed
from atrous.readers.onnx.values import Live, Value
from atrous.refusal import Refusal

if TYPE_CHECKING:
    import onnx

__all__ = ["Annotations", "Outputs", "downstream"]


def _reads(node: onnx.NodeProto) -> list[str]:
    inner = [name for graph in subgraphs(node) for name in captured(graph)]
    return [*filter(None, node.input), *inner]


def downstream(graph: onnx.GraphProto, names: Iterable[str]) -> set[str]:
    """All values that are computed from any of `names`, these included."""
    found = set(names)
    grown = True
    while grown:
        count = len(found)
        for inner in graphs(graph):
            for node in inner.node:
                inside = {name for g in subgraphs(node) for n in g.node for name in n.output}
                if found.intersection(_reads(node)) or found & inside:
                    found.update(filter(None, node.output))
        grown = len(found) > count
    return found


class Outputs:
    """The outputs of a graph after a conversion that covers the tensors `wanted`."""

    def __init__(
        self, model: onnx.ModelProto, before: Followed, wanted: Sequence[str], reached: set[str]
    ) -> None:
        self.model = model
        self.before = before
        self.wanted = wanted
        self.reached = reached

    def settle(self, *, static: bool) -> list[str] | Refusal:
        """Leaves out what the changes reach and the plan does not cover; adds what it asks for.

        Gives notes on both. With `static` an added output gets its shape.
        """
        graph = self.model.graph
        held = {item.name: self._tensor(item.name) for item in graph.output}
        lost = [
            name
            for name, tensor in held.items()
            if tensor not in self.wanted and name in self.reached
        ]
        added = []
        for tensor in self.wanted:
            if tensor not in held.values():
                name = self._name(tensor)
                if name is None:
                    return Refusal(
                        "onnx", tensor, "is no value of the file that could be an output."
                    )
                added.append(name)
        for index in reversed(range(len(graph.output))):
            if graph.output[index].name in lost:
                del graph.output[index]
        for name in added:
            self._add(name, static)
        notes = []
        if lost:
            self._prune()
            shown = ", ".join(name[:80] for name in lost[:8])
            notes.append(f"left out, because the conversion stops before: {shown}")
        if added:
            notes.append(f"new outputs: {', '.join(name[:80] for name in added[:8])}")
        return notes

    def _tensor(self, name: str) -> str | None:
        value = self.before.values.get(name)
        return value.tensor.name if isinstance(value, Live) else name

    def _name(self, tensor: str) -> str | None:
        made = [name for node in self.model.graph.node for name in node.output if name]
        inputs = [item.name for item in self.model.graph.input]
        return next((n for n in (*made, *inputs) if self._tensor(n) == tensor), None)

    def _add(self, name: str, static: bool) -> None:
        from onnx import helper

        graph = self.model.graph
        for index, item in enumerate(graph.value_info):
            if item.name == name:
                graph.output.append(item)
                del graph.value_info[index]
                return
        value = self.before.values[name]
        shape = value.shape if static else None
        graph.output.append(helper.make_tensor_value_info(name, value.dtype or 1, shape))

    def _prune(self) -> None:
        """Drops nodes, constants and inputs that no output needs any more."""
        graph = self.model.graph
        read = {item.name for item in graph.output}
        makers = {name: node for node in graph.node for name in node.output if name}
        waiting = list(read)
        while waiting:
            node = makers.get(waiting.pop())
            for name in _reads(node) if node is not None else ():
                if name not in read:
                    read.add(name)
                    waiting.append(name)
        for index in reversed(range(len(graph.node))):
            if not read.intersection(graph.node[index].output):
                del graph.node[index]
        left = read | {name for node in graph.node for name in node.output}
        for items in (
            graph.initializer,
            graph.value_info,
            graph.input,
            graph.quantization_annotation,
        ):
            for index in reversed(range(len(items))):
                item = items[index]
                name = item.tensor_name if hasattr(item, "tensor_name") else item.name
                if name not in left:
                    del items[index]
        for index in reversed(range(len(graph.sparse_initializer))):
            if graph.sparse_initializer[index].values.name not in left:
                del graph.sparse_initializer[index]


class Annotations:
    """The shapes that a graph states: away while it is read back, then right."""

    def __init__(self, model: onnx.ModelProto, reached: set[str]) -> None:
        import onnx

        self.model = model
        self.reached = reached
        graph = model.graph
        self.inner = [
            onnx.ValueInfoProto.FromString(v.SerializeToString()) for v in graph.value_info
        ]
        self.outputs = [onnx.ValueInfoProto.FromString(v.SerializeToString()) for v in graph.output]
        self._symbols: dict[tuple[str, int], str] = {}
        del graph.value_info[:]
        for item in graph.output:
            item.type.tensor_type.ClearField("shape")
        for inside in list(graphs(graph))[1:]:
            for item in (*inside.value_info, *inside.output):
                if item.name in reached:
                    item.type.tensor_type.ClearField("shape")

    def restore(self, before: Mapping[str, Value], after: Mapping[str, Value]) -> None:
        """Every statement is back; sizes that changed are new, symbols of such sizes as well."""
        graph = self.model.graph
        for item in (*self.inner, *self.outputs):
            self._correct(item, before.get(item.name), after.get(item.name))
        graph.value_info.extend(self.inner)
        del graph.output[:]
        graph.output.extend(self.outputs)

    def _correct(self, item: onnx.ValueInfoProto, old: Value | None, new: Value | None) -> None:
        if item.name not in self.reached or not item.type.HasField("tensor_type"):
            return
        tensor = item.type.tensor_type
        if not tensor.HasField("shape"):
            return
        dims = tensor.shape.dim
        unknown = old is None or new is None or (isinstance(new, Live) and bool(new.unknown))
        if (
            unknown
            or old is None
            or new is None
            or not len(dims) == len(old.shape) == len(new.shape)
        ):
            tensor.ClearField("shape")
            return
        for dim, was, size in zip(dims, old.shape, new.shape, strict=True):
            if was == size:
                continue
            if dim.HasField("dim_value"):
                dim.dim_value = size
            elif dim.dim_param:
                dim.dim_param = self._symbol(dim.dim_param, size)

    def _symbol(self, name: str, size: int) -> str:
        """Another symbol for another size: one that is shared with unchanged values would lie."""
        key = (name, size)
        if key not in self._symbols:
            same = sum(symbol == name for symbol, _ in self._symbols)
            self._symbols[key] = f"{name}_dense{same + 1 if same else ''}"
        return self._symbols[key]
