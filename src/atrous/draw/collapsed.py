"""A network as a graph of boxes: modules folded into one box each, layers inside one laid open."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from atrous.errors import unknown
from atrous.shown import how_many

if TYPE_CHECKING:
    from atrous.analysis import Inspection, Layer

__all__ = ["Box", "Collapsed", "Edge", "collapse", "modules"]


@dataclass(frozen=True, slots=True)
class Box:
    """A layer, a module folded into one, or what comes in and goes out.

    `coverage` is that of the least axis of the (last) layer's field, None where not known; `macs`,
    `params` and the number of `layers` are added up over what is inside; `shape` is what comes
    out; `findings` are the codes of what was found inside.
    """

    name: str
    label: str
    kind: str
    detail: str = ""
    layers: int = 1
    macs: int = 0
    params: int = 0
    coverage: float | None = None
    stride: float | None = None
    shape: tuple[int, ...] = ()
    findings: tuple[str, ...] = ()

    @property
    def opens(self) -> bool:
        """True for a module that has more inside than one layer."""
        return self.kind == "module"


@dataclass(frozen=True, slots=True)
class Edge:
    """A tensor from one box to another."""

    start: str
    end: str


@dataclass(frozen=True, slots=True)
class Collapsed:
    """The inside of one module ("" is the whole network), with all modules in it folded."""

    module: str
    boxes: tuple[Box, ...]
    edges: tuple[Edge, ...]


def modules(report: Inspection) -> list[str]:
    """All modules that can be opened, "" first, each before the ones inside it.

    >>> import atrous
    >>> modules(atrous.inspect("zoo:resnet50"))[:4]
    ['', 'layer1', 'layer1.0', 'layer1.0.downsample']
    """
    inside: dict[str, set[str]] = {"": {layer.name for layer in report.layers}}
    for layer in report.layers:
        parts = layer.module.split(".") if layer.module else []
        for end in range(1, len(parts) + 1):
            inside.setdefault(".".join(parts[:end]), set()).add(layer.name)
    return [name for name, members in inside.items() if not name or len(members) > 1]


def collapse(report: Inspection, module: str = "") -> Collapsed:
    """The graph of one module's inside. Raises `UnknownNameError` for a module that is not there.

    >>> import atrous
    >>> found = collapse(atrous.inspect("zoo:resnet50"), "layer1.0")
    >>> [box.label for box in found.boxes if box.kind in ("conv", "module")]
    ['conv1', 'conv2', 'conv3', 'downsample']
    """
    names = modules(report)
    if module not in names:
        raise unknown("module", module, names)
    opening = set(names)
    groups: dict[str, list[Layer]] = {}
    home: dict[str, str] = {}
    for layer in report.layers:
        key = _box_of(layer, module, opening)
        if key is not None:
            groups.setdefault(key, []).append(layer)
            home[layer.tensor] = key
    found: dict[str, tuple[str, ...]] = {}
    for finding in report.findings:
        for key, members in groups.items():
            if any(finding.layer == layer.name for layer in members):
                found[key] = (*found.get(key, ()), finding.code)
    boxes = [_box(key, members, module, found.get(key, ())) for key, members in groups.items()]
    edges: dict[Edge, None] = {}
    before: dict[str, Box] = {}
    after: dict[str, Box] = {}
    by_tensor = {layer.tensor: layer for layer in report.layers}
    shapes = {tensor.name: tensor.shape for tensor in report.network.inputs}
    for layer in report.layers:
        for name in () if layer.node is None else layer.node.inputs:
            start, end = home.get(name), home.get(layer.tensor)
            if start == end:
                continue
            if start is None:
                source = by_tensor.get(name)
                if source is not None and source.op == "constant":
                    continue
                shape = shapes.get(name) or (source.output_shape if source else ())
                start = f"in:{name}"
                before[start] = Box(start, name, "input", shape=shape)
            if end is None:
                end = f"out:{name}"
                shape = by_tensor[name].output_shape if name in by_tensor else ()
                after[end] = Box(end, "output", "output", shape=shape)
            edges[Edge(start, end)] = None
    for layer in report.outputs:
        start = home.get(layer.tensor)
        if start is not None:
            end = f"out:{layer.tensor}"
            after[end] = Box(
                end, "output" if module else layer.name, "output", shape=layer.output_shape
            )
            edges[Edge(start, end)] = None
    return Collapsed(module, (*before.values(), *boxes, *after.values()), tuple(edges))


def _box_of(layer: Layer, module: str, opening: set[str]) -> str | None:
    """The name of the box that holds a layer, when `module` is open; None for one outside."""
    if module and layer.module != module and not layer.module.startswith(module + "."):
        return None
    if layer.op == "constant":
        return None
    rest = layer.module[len(module) :].lstrip(".") if module else layer.module
    child = rest.partition(".")[0]
    path = f"{module}.{child}" if module and child else child
    return path if child and path in opening else layer.name


def _box(key: str, members: Sequence[Layer], module: str, found: tuple[str, ...]) -> Box:
    last = members[-1]
    label = key[len(module) :].lstrip(".") if module and key.startswith(module + ".") else key
    coverage = min((axis.coverage for axis in last.field), default=None)
    stride = max((float(axis.stride) for axis in last.field), default=None)
    folded = len(members) > 1
    return Box(
        name=key,
        label=label,
        kind="module" if folded else last.op,
        detail=f"{how_many(len(members), 'layer')}" if folded else last.detail,
        layers=len(members),
        macs=sum(layer.macs for layer in members),
        params=sum(layer.params for layer in members),
        coverage=coverage,
        stride=stride,
        shape=last.output_shape,
        findings=tuple(dict.fromkeys(found)),
    )
