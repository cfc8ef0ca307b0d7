"""An ONNX file as a PyTorch module: each node one module of plain calls."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from atrous.errors import AtrousError, ReadError, UnsupportedError
from atrous.readers.onnx.constants import Folder, literal, measured
from atrous.readers.onnx.file import Source, check, dense_constant
from atrous.readers.onnx.graph import inlined, layer_name, one_line, ordered
from atrous.readers.onnx.inputs import declared, is_static
from atrous.readers.onnx.names import Provenance
from atrous.readers.onnx.values import FLOATS, MAX_FOLDED, Const
from atrous.runners.rebuilt import elements, forms, mixes, recurrences, slides, spectra
from atrous.runners.rebuilt.call import REBUILT, Given, HeldNumbers, RebuiltCall

if TYPE_CHECKING:
    import onnx

__all__ = ["MOST_NUMBERS", "Rebuilt"]

_REGISTERED = (elements, forms, mixes, recurrences, slides, spectra)
_DOMAINS = ("", "ai.onnx", "com.microsoft")
_MEASURES = ("Shape", "Size")
_MOST_NODES = 1 << 14
MOST_NUMBERS = 1 << 28
"""Numbers of one value: 1 GiB of float32."""
_FEW = 64
"""Stored floats that may be sizes or factors as well as weights."""
_MOST_REMEMBERED = 64


class _Noted:
    """The shapes that each node's inputs had, by its place in the file's order."""

    __slots__ = ("shapes", "taking")

    def __init__(self) -> None:
        self.shapes: dict[int, tuple[tuple[int, ...] | None, ...]] = {}
        self.taking = False


class RebuiltNode(nn.Module):  # type: ignore[misc]
    """One node: tensors and known numbers in, the same out, by the calls that its operator has."""

    def __init__(
        self, node: onnx.NodeProto, label: str, place: int, opsets: dict[str, int], noted: _Noted
    ) -> None:
        super().__init__()
        self.held = (node, label, place, opsets, noted)
        self.label, self.remembered = label, _Remembered()

    def forward(self, *given: Given) -> list[Any]:
        node, label, place, _, noted = self.held
        try:
            made = self._made(given)
        except AtrousError as error:
            error.subject = error.subject or label
            raise
        except Exception as error:  # whatever PyTorch says is about this node
            wrong = ReadError(f"{node.op_type[:80]} does not run: {one_line(error)}.")
            wrong.subject = label
            raise wrong from error
        if noted.taking:
            noted.shapes[place] = tuple(None if x is None else tuple(x.shape) for x in given)
        for one in made:
            count = one.numel() if isinstance(one, torch.Tensor) else 0
            if count > MOST_NUMBERS:
                large = ReadError(
                    f"makes {count:,} numbers, more than the {MOST_NUMBERS:,} that are taken; "
                    "give a shorter example."
                )
                large.subject = label
                raise large
        return made

    def _made(self, given: Sequence[Given]) -> list[Any]:
        node, _, place, opsets, noted = self.held
        if node.op_type in _MEASURES:
            (x,) = (one for one in given if one is not None)
            # What a file computes of the sizes that it is made for are numbers that it holds.
            own = noted.shapes.get(place, (None,))[0] if not noted.taking else None
            like = Const("", tuple(int(n) for n in x.shape) if own is None else own, 1)
            return [HeldNumbers(_array_of(measured(node, like)), sized=own is None)]
        if all(one is None or isinstance(one, HeldNumbers) for one in given):
            folded = self._folded([one for one in given if not isinstance(one, torch.Tensor)])
            if folded is not None:
                return folded
        version = opsets.get("", 1)
        before = noted.shapes.get(place) if not noted.taking else None
        made = REBUILT[node.op_type](RebuiltCall(node, version, given, before))
        return list(made) if isinstance(made, list | tuple) else [made]

    def _folded(self, given: Sequence[HeldNumbers | None]) -> list[Any] | None:
        """The numbers that a node makes of known ones; None where they are too many."""
        from onnx import helper

        node, _, _, opsets, _ = self.held
        key = tuple(
            None if one is None else (one.array.dtype.str, one.shape, one.array.tobytes())
            for one in given
        )
        if key not in self.remembered.made:
            constants = [
                None
                if one is None
                else Const(
                    "",
                    one.shape,
                    int(helper.np_dtype_to_tensor_dtype(one.array.dtype)),
                    (),
                    partial(np.asarray, one.array),
                )
                for one in given
            ]
            found = Folder(dict(opsets)).fold(node, constants)
            arrays = [None if one is None else one.array for one in found]
            self.remembered.keep(key, arrays)
        arrays = self.remembered.made[key]
        if any(one is None for one in arrays):
            return None
        sized = any(one is not None and one.sized for one in given)
        return [HeldNumbers(one, sized=sized) for one in arrays if one is not None]


class _Remembered:
    """What a node made of known numbers, which it is asked at each length again."""

    __slots__ = ("made",)

    def __init__(self) -> None:
        self.made: dict[Any, list[Any]] = {}

    def keep(self, key: Any, arrays: list[Any]) -> None:
        """Keeps the newest."""
        if len(self.made) >= _MOST_REMEMBERED:
            self.made.clear()
        self.made[key] = arrays


class Rebuilt(nn.Module):  # type: ignore[misc]
    """The module that does what a file does, with its weights; it takes the file's inputs in order.

    `inputs` are their names, `outputs` those of what it gives. Raises `ReadError` for a file that
    cannot be read and `UnsupportedError`, naming the node, for an operator without a form here.
    """

    def __init__(self, source: Source) -> None:
        super().__init__()
        check(source)
        graph = inlined(source.model).graph
        order = ordered(graph, ())
        if len(order.nodes) > _MOST_NODES:
            raise ReadError(f"holds {len(order.nodes):,} nodes; at most {_MOST_NODES:,} run here.")
        if not graph.output:
            raise ReadError("has no output.")
        stored = {item.name for item in graph.initializer}
        items = [item for item in graph.input if item.name not in stored]
        self.inputs = tuple(item.name for item in items)
        self.outputs = tuple(item.name for item in graph.output)
        self.fixed = all(is_static(declared(item)) for item in items)
        self._noted = _Noted()
        self._known: dict[str, HeldNumbers] = {}
        self._named: dict[str, str] = {}
        for name, constant in _constants(graph, order.nodes, source, order.read):
            self._keep(name, constant)
        self._steps: list[tuple[RebuiltNode, tuple[str, ...], tuple[str, ...]]] = []
        opsets = source.opsets
        labels: set[str] = set()
        for place, node in enumerate(order.nodes):
            if node.op_type == "Constant":
                continue
            label = layer_name(node, place)
            _check_known(node, label)
            step = RebuiltNode(node, label, place, opsets, self._noted)
            _name_module(self, label if label not in labels else f"{label}_{place}", step)
            labels.add(label)
            self._steps.append((step, tuple(node.input), tuple(node.output)))
        self._last = _last_uses(self._steps, self.outputs)

    @property
    def made(self) -> Iterator[tuple[str, tuple[str, ...]]]:
        """Each node by its name in the file, and the names of what it makes, in order."""
        for step, _, makes in self._steps:
            yield step.label, tuple(filter(None, makes))

    @contextmanager
    def noting(self) -> Iterator[None]:
        """While inside, a run notes the sizes of every node: those that the file is made for."""
        self._noted.taking = True
        try:
            yield
        finally:
            self._noted.taking = False

    def forward(self, *inputs: torch.Tensor) -> Any:
        """What the file gives, one tensor or a tuple of several."""
        values = self.values(inputs, self.outputs)
        made = tuple(_tensor(values[name]) for name in self.outputs)
        return made[0] if len(made) == 1 else made

    def values(
        self, inputs: Sequence[torch.Tensor], wanted: Sequence[str] | None = None
    ) -> dict[str, Any]:
        """What each name of the file stands for; where names are wanted, at least those."""
        if len(inputs) != len(self.inputs):
            raise ReadError(f"takes {len(self.inputs)} inputs, got {len(inputs)}.")
        values: dict[str, Any] = dict(self._known)
        values.update((name, getattr(self, key)) for name, key in self._named.items())
        values.update(zip(self.inputs, inputs, strict=True))
        for place, (step, reads, makes) in enumerate(self._steps):
            made = step(*(values[name] if name else None for name in reads))
            pairs = zip_longest(makes, made[: len(makes)])
            values.update((name, value) for name, value in pairs if name)
            for name in self._last.get(place, ()) if wanted is not None else ():
                values.pop(name, None)
        return values

    def _keep(self, name: str, constant: Const) -> None:
        """Keeps what is stored: as numbers where they are few, as parameters where they are one."""
        try:
            array = constant.numbers()
        except ValueError as error:
            if isinstance(error, AtrousError):
                raise
            raise ReadError(
                f"the numbers of {name[:80]!r} are not at hand; keep its file beside the model, or "
                "give the path of the model."
            ) from None
        floats = constant.dtype in FLOATS
        tensor = _parameter(array, name) if floats or array.size > MAX_FOLDED else None
        if tensor is not None:
            key = f"stored_{len(self._parameters)}"
            self._named[name] = key
            self.register_parameter(key, tensor)
        if tensor is None or (array.size <= _FEW and array.ndim < 2):
            self._named.pop(name, None)
            self._known[name] = HeldNumbers(np.asarray(array), tensor)


def _array_of(constant: Const) -> Any:
    found = constant.array
    assert found is not None
    return found


def _tensor(value: Any) -> torch.Tensor:
    found: torch.Tensor = value.as_tensor() if isinstance(value, HeldNumbers) else value
    return found


def _parameter(array: np.ndarray[Any, Any], name: str) -> nn.Parameter:
    """Stored numbers as a parameter without a gradient."""
    try:
        if array.dtype.name == "bfloat16":
            held = torch.from_numpy(array.view(np.int16).copy()).view(torch.bfloat16)
        else:
            held = torch.from_numpy(np.array(array, order="C"))
    except TypeError:
        raise UnsupportedError(
            f"{name[:80]!r} holds numbers of type {array.dtype}, which PyTorch does not compute "
            "with here; stream the module that the file was exported from."
        ) from None
    return nn.Parameter(held, requires_grad=False)


def _constants(
    graph: onnx.GraphProto,
    nodes: Sequence[onnx.NodeProto],
    source: Source,
    read: frozenset[str],
) -> Iterator[tuple[str, Const]]:
    """What a file stores that is read, as initialisers and as nodes."""
    provenance = Provenance(graph)
    for item in graph.sparse_initializer:
        raise UnsupportedError(
            f"{item.values.name[:80]!r} is a sparse tensor; store it as a dense one."
        )
    for tensor in graph.initializer:
        if tensor.name in read:
            yield tensor.name, dense_constant(tensor, source, provenance.is_parameter)
    for node in nodes:
        if node.op_type == "Constant":
            yield node.output[0], literal(node, source)


def _check_known(node: onnx.NodeProto, label: str) -> None:
    """Raises where an operator has no form here."""
    if node.op_type in _MEASURES or (node.domain in _DOMAINS and node.op_type in REBUILT):
        return
    error = UnsupportedError(
        f"{node.op_type[:80]} has no PyTorch form that streams; stream the module that the file "
        "was exported from, or export it without."
    )
    error.subject = label
    raise error


def _name_module(root: nn.Module, label: str, step: nn.Module) -> None:
    """Puts a node's module where its path is its name, dots and all, as far as that goes."""
    *path, name = label.split(".")
    at = root
    for part in path:
        if part and part not in at._modules and not hasattr(at, part):
            at.add_module(part, nn.Module())
        if part not in at._modules:
            break
        at = at._modules[part]
    else:
        if name and not hasattr(at, name):
            at.add_module(name, step)
            return
    name = label.replace(".", "/")
    while hasattr(root, name):
        name += "_"
    root.add_module(name, step)


def _last_uses(
    steps: Sequence[tuple[Any, tuple[str, ...], tuple[str, ...]]], outputs: Sequence[str]
) -> Mapping[int, tuple[str, ...]]:
    """The names that nothing reads behind a step, by its place."""
    last: dict[str, int] = {}
    for place, (_, reads, _) in enumerate(steps):
        last.update((name, place) for name in reads if name)
    found: dict[int, list[str]] = {}
    for name, place in last.items():
        if name not in outputs:
            found.setdefault(place, []).append(name)
    return {place: tuple(names) for place, names in found.items()}
