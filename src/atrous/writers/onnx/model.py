"""A plan written into a copy of an ONNX model, and read back before it is given out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import lcm
from pathlib import Path
from typing import TYPE_CHECKING

from atrous.conversion.plan import OpChange, Plan
from atrous.errors import AtrousError
from atrous.geometry import Dense, Window, sparse_window
from atrous.network import Node, Tensor
from atrous.network.ops import Conv, ConvTranspose, Op, Opaque, Pad, Pool, Slice
from atrous.readers.onnx.file import Source, check, load
from atrous.readers.onnx.graph import copied
from atrous.readers.onnx.inputs import declared
from atrous.readers.onnx.reader import Followed, follow_onnx
from atrous.readers.onnx.values import Live
from atrous.refusal import Refusal
from atrous.shown import how_many
from atrous.writers.onnx import sizes, windows
from atrous.writers.onnx.edit import Edit, Unwritable
from atrous.writers.onnx.outputs import Annotations, Outputs, downstream
from atrous.writers.onnx.steps import WRITERS, Step

if TYPE_CHECKING:
    import onnx

__all__ = ["Rewritten", "rewrite_onnx", "rewritten"]

_REGISTERED = (sizes, windows)
_STATIC = (
    "give the file static shapes, for example with python -m "
    "onnxruntime.tools.make_dynamic_shape_fixed"
)


@dataclass(frozen=True, slots=True)
class Rewritten:
    """A converted model, and what its user should know about it."""

    model: onnx.ModelProto
    notes: tuple[str, ...] = ()


def rewrite_onnx(source: str | Path | onnx.ModelProto, plan: Plan) -> onnx.ModelProto | Refusal:
    """A copy of the model in which every change of the plan is made, or why that cannot be.

    See `rewritten`, which also says what changed besides.
    """
    made = rewritten(source, plan)
    return made.model if isinstance(made, Rewritten) else made


def rewritten(source: str | Path | onnx.ModelProto, plan: Plan) -> Rewritten | Refusal:
    """A copy of the model in which every change of the plan is made, with notes on it.

    All else is kept: names, metadata, weights to the byte, references to external data. Calls of
    the model's own functions are replaced by what they do. Outputs that the plan does not cover
    and that its changes reach are left out. The result is read back at the plan's sizes: a model is
    returned only where every op and shape is the one that the plan has. Along axes whose length the
    file leaves open the attributes hold at every length, at the price of a map that may be a few
    positions smaller; where no attribute does, the conversion is refused. Where only a later
    operator set can say a change, the copy is raised to it.

    Raises `ReadError` for a source that cannot be read.
    """
    loaded = load(source)
    check(loaded)

    made = _rewritten(loaded, plan)
    if isinstance(made, Rewritten) or not (since := _SINCE.get(made.rule, 0)):
        return made
    raised = _raised(loaded, since)
    if raised is None:
        return made
    again = _rewritten(raised, plan)
    if isinstance(again, Refusal):
        return made if again.rule in _SINCE else again
    note = f"operator set {loaded.opsets.get('', 1)} became {since}, which {made.layer} needs"
    return replace(again, notes=(*again.notes, note))


_SINCE = {f"operator set {n}": n for n in range(8, 32)}
"""Refusals that a later operator set lifts."""


def _rewritten(loaded: Source, plan: Plan) -> Rewritten | Refusal:
    def attempt(*, pinned: bool) -> Rewritten | Refusal:
        copy = Source(copied(loaded.model), loaded.label, loaded.folder)
        return _Rewrite(copy, plan, pinned=pinned).run()

    made = attempt(pinned=False)
    if isinstance(made, Rewritten) or made.rule in _SINCE:
        return made
    # Numbers that the file computes from sizes did not all follow: where sizes are static, the
    # right ones can be written in their place.
    again = attempt(pinned=True)
    return again if isinstance(again, Rewritten) else made


def _raised(loaded: Source, since: int) -> Source | None:
    """The model at a later operator set; None where onnx has no way there."""
    from onnx import version_converter

    try:
        made = version_converter.convert_version(copied(loaded.model), since)
        return Source(made, loaded.label, loaded.folder)
    except Exception:  # it has no class of errors of its own
        return None


class _Rewrite:
    def __init__(self, source: Source, plan: Plan, *, pinned: bool) -> None:
        self.pinned = pinned
        self.source = source
        self.plan = plan
        self.model = source.model
        self.after = {node.name: node for node in plan.candidate.nodes}
        self.shapes = {t.name: t.shape for t in plan.reference.inputs}
        self.notes: list[str] = []
        self.open: set[str] = set()
        self.smaller = False
        self.settled: dict[str, Op] = {}

    def run(self) -> Rewritten | Refusal:
        wrong = self._inputs()
        if wrong is not None:
            return wrong
        before = follow_onnx(self.source, self.shapes)
        ops = {node.name: node.op for node in before.network.nodes}
        for node in self.plan.reference.nodes:
            if ops.get(node.name) != node.op:
                return Refusal("onnx", node.name, "the file has another layer there than the plan.")
        edit = self._edit(before)
        groups: dict[str, list[OpChange]] = {}
        nodes = {node.name: node for node in self.plan.reference.nodes}
        for change in self.plan.changes:
            groups.setdefault(nodes[change.node].origin, []).append(change)
        changed: set[str] = set()
        for origin, changes in groups.items():
            written = self._write(edit, origin, changes, nodes)
            if isinstance(written, Refusal):
                return written
            changed.update(written)
        for graph_node in self.model.graph.node:
            if graph_node.output[0] in groups:
                continue
            try:
                sizes.follow(edit, graph_node)
            except Unwritable as reason:
                return Refusal("onnx", graph_node.name or graph_node.output[0], str(reason))
        edit.finish()
        reached = downstream(self.model.graph, changed)
        outputs = Outputs(self.model, before, self.plan.reference.outputs, reached)
        lost = outputs.settle(static=not self._open_anywhere())
        if isinstance(lost, Refusal):
            return lost
        self.notes += lost
        return self._read_back(before, edit, reached)

    def _edit(self, before: Followed) -> Edit:
        candidate = self.plan.candidate
        tensors = (*candidate.inputs, *(node.output for node in candidate.nodes))
        shapes = {t.name: t.shape for t in tensors}
        opset = self.source.opsets.get("", 1)
        edit = Edit(self.model, before.values, shapes, self.plan.factors, opset)
        edit.open = self.open
        edit.pinned = self.pinned and not self.open
        edit.static = not self._open_anywhere()
        return edit

    # Sizes that the file leaves open

    def _inputs(self) -> Refusal | None:
        items = {item.name: item for item in self.model.graph.input}
        for tensor in self.plan.reference.inputs:
            if tensor.name not in items:
                return Refusal("onnx", tensor.name, "the file has no such input.")
            said = declared(items[tensor.name]) or ["?"] * len(tensor.shape)
            fixed = [n for n in said if isinstance(n, int)]
            if fixed != [n for n, s in zip(tensor.shape, said, strict=False) if isinstance(s, int)]:
                shown = "x".join(map(str, said))
                return Refusal(
                    "onnx",
                    tensor.name,
                    f"the file says {shown} and the plan was made at "
                    f"{'x'.join(map(str, tensor.shape))}; leave the input out, or change the "
                    "file's shapes first.",
                )
            for size, dim in zip(said, tensor.layout, strict=False):
                if not isinstance(size, int):
                    self.open.update(atom.axis for atom in dim if atom.axis is not None)
        return None

    def _open_anywhere(self) -> bool:
        return any(
            not isinstance(size, int)
            for item in self.model.graph.input
            for size in (declared(item) or ["?"])
        )

    # One node

    def _write(
        self, edit: Edit, origin: str, changes: Sequence[OpChange], nodes: Mapping[str, Node]
    ) -> Refusal | list[str]:
        layer = changes[0].node
        target = edit.maker(origin)
        if target is None or origin in edit.ambiguous:
            count = "no node makes" if target is None else "two nodes make"
            return Refusal(
                "onnx", layer, f"{count} {origin[:80]!r} in the file; rename its values."
            )
        try:
            steps = [self._step(target, nodes[change.node], change) for change in changes]
            outputs = list(target.output)
            writer = WRITERS.get(target.op_type)
            if writer is not None:
                writer(edit, target, steps)
        except Unwritable as reason:
            rule = f"operator set {reason.since}" if reason.since else "onnx"
            return Refusal(rule, layer, str(reason))
        return outputs

    def _step(self, target: onnx.NodeProto, node: Node, change: OpChange) -> Step:
        x = self.plan.candidate.tensor(node.inputs[0])
        op = change.after
        open_ = tuple(axis in self.open for axis in change.axes)
        if isinstance(op, Conv | Pool) and any(open_):
            op = self._lasting(target, node, change, op)
        if isinstance(op, Pool) and op.counted == op.padding:
            op = replace(op, counted=())
        self.settled[change.node] = op
        return Step(node, change, op, x, open_)

    def _lasting(
        self, target: onnx.NodeProto, node: Node, change: OpChange, op: Conv | Pool
    ) -> Conv | Pool:
        """The op with windows that hold at every length along the open axes."""
        assert isinstance(change.before, Conv | Pool)
        same = any(a.name == "auto_pad" and a.s.startswith(b"SAME") for a in target.attribute)
        windows = list(op.windows)
        for i, axis in enumerate(change.axes):
            if axis is None or axis not in self.open:
                continue
            if same and change.before.windows[i].stride > 1:
                raise Unwritable(
                    f"auto_pad with a stride pads by other numbers at every size, and the file "
                    f"leaves {axis} open; {_STATIC}."
                )
            if not change.dense:
                self._steady(node, change.before.windows[i], windows[i], axis)
                continue
            windows[i] = self._natural(node, change.dense[i], windows[i], axis)
        return replace(op, windows=tuple(windows))

    def _natural(self, node: Node, dense: Dense, made: Window, axis: str) -> Window:
        if dense.fixed is not None or (dense.factor == 1 and dense.stride == dense.window.stride):
            return made
        if dense.same is not None or dense.ceil:
            why = "counts a partial window (ceil_mode)" if dense.ceil else f"pads as {dense.same}"
            raise Unwritable(
                f"it {why}, which takes other padding at every size, and the file leaves {axis} "
                f"open; {_STATIC}."
            )
        own = dense.factor * dense.window.pad_hi
        if own != made.pad_hi:
            self.smaller = True
            self.notes.append(
                f"{node.name}: the file leaves {axis} open, so its map is not padded to full size: "
                f"{how_many(made.pad_hi - own, 'position')} fewer; every position that is "
                "there is exact."
            )
        return replace(made, pad_hi=own)

    def _steady(self, node: Node, old: Window, made: Window, axis: str) -> None:
        factors = self.plan.factors
        inward, outward = factors[node.inputs[0]][axis], factors[node.output.name].get(axis, 1)
        if inward * outward == 1:
            return
        length = self.plan.reference.tensor(node.inputs[0]).grid[axis]
        turn = lcm(inward, outward * old.stride)
        if any(sparse_window(old, inward, outward, length + i) != made for i in range(2 * turn)):
            self.notes.append(
                f"{node.name}: the file leaves {axis} open; at other lengths than {length} its map "
                "may have one position more or fewer."
            )

    # The result

    def _read_back(self, before: Followed, edit: Edit, reached: set[str]) -> Rewritten | Refusal:
        notes = Annotations(self.model, reached)
        shapes = {name: s for name, s in self.shapes.items() if self._has_input(name)}
        try:
            after = follow_onnx(self.source, shapes)
        except AtrousError as error:
            why = f"with padding that holds at every size its maps do not fit; {_STATIC}"
            if not self.smaller:
                why = "the rewritten file cannot be read"
            return Refusal("onnx", "", f"{why} ({error})")
        wrong = self._differs(before, after, edit)
        if wrong is not None:
            return wrong
        notes.restore(before.values, after.values)
        return Rewritten(self.model, tuple(self.notes))

    def _has_input(self, name: str) -> bool:
        return any(item.name == name for item in self.model.graph.input)

    def _differs(self, before: Followed, after: Followed, edit: Edit) -> Refusal | None:
        """Where the file as it was read back is not what the plan says."""
        candidate = self.plan.candidate
        known = {t.name for t in candidate.inputs} | {n.output.name for n in candidate.nodes}
        for name, value in before.values.items():
            got = after.values.get(name)
            if not isinstance(value, Live) or value.tensor.name not in known or got is None:
                continue
            wanted = candidate.tensor(value.tensor.name).shape
            if got.shape != wanted and not self._fewer(value.tensor, got.shape):
                shown, meant = "x".join(map(str, got.shape)), "x".join(map(str, wanted))
                maker = before.network.maker(value.tensor.name)
                return Refusal(
                    "onnx",
                    value.tensor.name if maker is None else maker.name,
                    f"it would make {shown} in the rewritten file, and the plan says {meant}: its "
                    f"size is computed in a way that does not follow; {self._way_out()}.",
                )
        return self._other_ops(after, edit)

    def _way_out(self) -> str:
        return _STATIC if self.open else "simplify the file first, for example with onnxsim"

    def _fewer(self, tensor: Tensor, shape: tuple[int, ...]) -> bool:
        """True for a map that is smaller than planned, where that is so on purpose."""
        if not self.smaller or len(shape) != len(tensor.shape):
            return False
        factors = self.plan.factors[tensor.name]
        for dim, n in zip(tensor.layout, shape, strict=True):
            whole = len(dim) == 1 and dim[0].axis is not None
            if whole and -(-n // factors.get(str(dim[0].axis), 1)) != dim[0].size:
                return False
        return True

    def _other_ops(self, after: Followed, edit: Edit) -> Refusal | None:
        read: dict[str, list[Op]] = {}
        for node in after.network.nodes:
            read.setdefault(node.origin, []).append(node.op)
        place: dict[str, int] = {}
        candidate = self.plan.candidate
        for node in candidate.nodes:
            if not node.origin or node.origin in edit.rephrased or node.origin not in read:
                continue
            if isinstance(node.op, Opaque):
                continue
            wanted = self.settled.get(node.name, node.op)
            if self.smaller and not isinstance(wanted, Conv | ConvTranspose | Pool | Pad):
                continue
            if isinstance(wanted, Slice) and wanted == Slice(
                wanted.dim, 0, candidate.tensor(node.inputs[0]).shape[wanted.dim]
            ):
                continue  # takes everything now, and is read as nothing
            found, start = read[node.origin], place.get(node.origin, 0)
            if wanted not in found[start:]:
                return Refusal(
                    "onnx",
                    node.name,
                    f"the rewritten file reads as {found[-1]} there, and the plan says {wanted}; "
                    f"{self._way_out()}.",
                )
            place[node.origin] = found.index(wanted, start) + 1
        return None
