"""An ONNX graph while it is changed: fresh names, constants, nodes before and behind others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from atrous.conversion.plan import Factors
from atrous.network.records import Tensor
from atrous.readers.onnx.graph import graphs
from atrous.readers.onnx.values import Const, Live, Value

if TYPE_CHECKING:
    import onnx

    from atrous.readers.onnx.values import Array

__all__ = ["Edit", "Unwritable", "set_ints", "without"]

_ANONYMOUS = 4  # the IR version from which initialisers need not be inputs


class Unwritable(Exception):  # noqa: N818 - a reason that stays inside, no error that is shown
    """Raised where the file's operators cannot say a change, with the reason and its fix.

    `since` is the operator set from which they can, where a later one does.
    """

    def __init__(self, reason: str, since: int = 0) -> None:
        super().__init__(reason)
        self.since = since


def set_ints(node: onnx.NodeProto, name: str, values: Sequence[int], default: int) -> None:
    """The attribute gets these numbers, in its place; it is added only where it says something."""
    from onnx import helper

    for attribute in node.attribute:
        if attribute.name == name:
            attribute.CopyFrom(helper.make_attribute(name, list(values)))
            return
    if any(value != default for value in values):
        node.attribute.append(helper.make_attribute(name, list(values)))


def without(node: onnx.NodeProto, *names: str) -> None:
    """The node loses these attributes."""
    for index in reversed(range(len(node.attribute))):
        if node.attribute[index].name in names:
            del node.attribute[index]


class Edit:
    """A model that is changed in place.

    `values` are what the names of the unchanged file stand for; `shapes` the shapes that the
    tensors of its network get and `factors` how many positions each axis has for one. A constant is
    never changed: who needs another gets one of its own. `open` names the axes whose length the
    file leaves open; `static` says that it leaves nothing open, and `pinned` that numbers which are
    computed from sizes give way to constants. `rephrased` holds the first output of
    every node that is said in other operators.
    """

    def __init__(
        self,
        model: onnx.ModelProto,
        values: Mapping[str, Value],
        shapes: Mapping[str, tuple[int, ...]],
        factors: Mapping[str, Factors],
        opset: int,
    ) -> None:
        self.model = model
        self.values = values
        self.opset = opset
        self.open: set[str] = set()
        self.pinned = False
        self.static = False
        self.rephrased: set[str] = set()
        self._factors = factors
        self._shapes = shapes
        self._names: set[str] = set()
        self._makers: dict[str, onnx.NodeProto] = {}
        self.ambiguous: set[str] = set()
        self._fronts: dict[str, list[onnx.NodeProto]] = {}
        self._behind: dict[str, list[onnx.NodeProto]] = {}
        self._replaced: set[str] = set()
        self._fixed: dict[str, bool] = {}
        self._stored: set[str] = set()
        for graph in graphs(model.graph):
            self._stored.update(item.name for item in graph.initializer)
            self._stored.update(item.values.name for item in graph.sparse_initializer)
            for item in (*graph.input, *graph.output, *graph.value_info):
                self._names.add(item.name)
            for node in graph.node:
                self._names.add(node.name)
                self._names.update(node.input)
                for name in filter(None, node.output):
                    if name in self._makers:
                        self.ambiguous.add(name)
                    self._makers[name] = node
                    self._names.add(name)
        self._names |= self._stored

    # What there is

    def maker(self, name: str) -> onnx.NodeProto | None:
        """The node that makes a value; None for inputs and initialisers."""
        return self._makers.get(name)

    def array(self, name: str) -> Array | None:
        """The numbers of a value that no input reaches, where they are known."""
        value = self.values.get(name)
        return value.array if isinstance(value, Const) else None

    def tensor(self, name: str) -> Tensor:
        """The tensor of the unchanged network that a name stands for."""
        value = self.values.get(name)
        if not isinstance(value, Live):
            raise Unwritable(f"{name[:80]!r} is not followed as a tensor.")
        return value.tensor

    def dtype(self, name: str) -> int:
        """The element type of a value, by its number in ONNX."""
        return self.values[name].dtype or 1

    def new_shape(self, name: str) -> tuple[int, ...]:
        """The shape that a value gets; its own where nothing says otherwise."""
        value = self.values.get(name)
        if isinstance(value, Live):
            return self._shapes.get(value.tensor.name, value.shape)
        return value.shape if value is not None else ()

    def factor(self, name: str, dim: int) -> int:
        """How many positions a dimension gets for each one that it has; 1 where it has none."""
        tensor = self.tensor(name)
        factors = self._factors.get(tensor.name, {})
        return max((factors.get(str(atom.axis), 1) for atom in tensor.layout[dim]), default=1)

    def resized(self, name: str) -> bool:
        """True where a value gets another shape."""
        value = self.values.get(name)
        return value is not None and self.new_shape(name) != value.shape

    def is_fixed(self, name: str) -> bool:
        """True where a value is stored in the file, or computed from what is, and from no shape."""
        if name in self._stored or not name:
            return True
        if name not in self._fixed:
            self._fixed[name] = False  # a cycle is no constant
            maker = self._makers.get(name)
            self._fixed[name] = maker is not None and all(map(self.is_fixed, maker.input))
        return self._fixed[name]

    # What is new

    def fresh(self, base: str) -> str:
        """A name that nothing has yet."""
        name, count = base, 1
        while name in self._names or not name:
            count += 1
            name = f"{base}_{count}"
        self._names.add(name)
        return name

    def constant(self, array: Array, base: str, before: onnx.NodeProto) -> str:
        """The name of a new constant, which `before` or a node in front of it reads."""
        from onnx import helper, numpy_helper

        name = self.fresh(base)
        tensor = numpy_helper.from_array(array, name)
        if self.model.ir_version >= _ANONYMOUS:
            self.model.graph.initializer.append(tensor)
        else:
            self._front(before, helper.make_node("Constant", [], [name], name=name, value=tensor))
        return name

    def _front(self, node: onnx.NodeProto, new: onnx.NodeProto) -> None:
        self._fronts.setdefault(_key(node), []).append(new)

    def in_front(
        self,
        node: onnx.NodeProto,
        operator: str,
        inputs: Sequence[str],
        suffix: str,
        **attributes: object,
    ) -> str:
        """The output of a new node that runs before `node`."""
        from onnx import helper

        name = self.fresh(f"{node.output[0]}_{suffix}")
        label = self.fresh(f"{node.name or node.output[0]}_{suffix}")
        self._front(
            node, helper.make_node(operator, list(inputs), [name], name=label, **attributes)
        )
        return name

    def then(self, node: onnx.NodeProto, operator: str, inputs: Sequence[str], suffix: str) -> None:
        """A new node makes what `node` made: of that, which gets another name, and `inputs`."""
        from onnx import helper

        output = node.output[0]
        key = _key(node)
        inner = self.fresh(f"{output}_{suffix}")
        label = self.fresh(f"{node.name or output}_{suffix}")
        new = helper.make_node(operator, [inner, *inputs], [output], name=label)
        node.output[0] = inner
        self._behind.setdefault(inner, []).append(new)
        if key in self._fronts:
            self._fronts[inner] = self._fronts.pop(key)

    def renumbered(
        self, node: onnx.NodeProto, index: int, old: Sequence[int], new: Sequence[int]
    ) -> None:
        """Input `index` of a node, a list of numbers, holds `new` where it held `old`.

        What is computed from shapes is left: it follows by itself. Of a list that is put together
        from both, the fixed parts are changed.
        """
        if tuple(old) == tuple(new):
            return
        name = self._renumbered(node, node.input[index], tuple(old), tuple(new))
        if name is not None:
            self.replaced(node, index, name)

    def replaced(self, node: onnx.NodeProto, index: int, name: str) -> None:
        """Input `index` of a node is `name`; what it was goes if nothing else reads it."""
        self._replaced.add(node.input[index])
        node.input[index] = name

    def _renumbered(
        self, node: onnx.NodeProto, name: str, old: tuple[int, ...], new: tuple[int, ...]
    ) -> str | None:
        import numpy as np

        array = self.array(name)
        if self.is_fixed(name):
            if array is None:
                raise Unwritable(f"the numbers of {name[:80]!r} are not known.")
            made = np.asarray(new, array.dtype).reshape(array.shape)
            return self.constant(made, f"{name}_dense", node)
        maker = self._makers.get(name)
        if maker is None or maker.op_type != "Concat":
            # Numbers that stay may come from a size that is open.
            kept = any(a == b != 0 for a, b in zip(old, new, strict=True))
            if not self.pinned or array is None or (kept and not self.static):
                return None
            made = np.asarray(new, array.dtype).reshape(array.shape)
            return self.constant(made, f"{name}_dense", node)
        parts, start, changed = [], 0, False
        for part in maker.input:
            value = self.values.get(part)
            count = 1 if value is None or not value.shape else value.shape[0]
            piece = None
            if old[start : start + count] != new[start : start + count]:
                piece = self._renumbered(
                    node, part, old[start : start + count], new[start : start + count]
                )
            parts.append(part if piece is None else piece)
            changed = changed or piece is not None
            start += count
        return self.in_front(node, "Concat", parts, "dense", axis=0) if changed else None

    def finish(self) -> None:
        """Puts the new nodes in their places; drops constants that nothing reads any more."""
        from onnx import NodeProto

        for graph in list(graphs(self.model.graph)):
            keys = {_key(node) for node in graph.node}
            if keys & (self._fronts.keys() | self._behind.keys()):
                order: list[NodeProto] = []
                for node in graph.node:
                    order += [*self._fronts.get(_key(node), ()), node]
                    order += self._behind.get(_key(node), ())
                copies = [NodeProto.FromString(node.SerializeToString()) for node in order]
                del graph.node[:]
                graph.node.extend(copies)
        self._drop_unread()

    def _drop_unread(self) -> None:
        read = {name for g in graphs(self.model.graph) for n in g.node for name in n.input}
        read.update(item.name for g in graphs(self.model.graph) for item in (*g.output, *g.input))
        gone = self._replaced - read
        for graph in list(graphs(self.model.graph)):
            for items in (graph.initializer, graph.value_info):
                for index in reversed(range(len(items))):
                    if items[index].name in gone:
                        del items[index]
            for index in reversed(range(len(graph.node))):
                node = graph.node[index]
                if node.op_type == "Constant" and node.output[0] in gone:
                    del graph.node[index]


def _key(node: onnx.NodeProto) -> str:
    key: str = next(filter(None, node.output), "")
    return key
