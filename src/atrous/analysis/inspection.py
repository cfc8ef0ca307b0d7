"""The report of a network: what each layer sees and what it costs."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from dataclasses import field as record_field
from fractions import Fraction
from operator import index
from typing import TYPE_CHECKING, Any, Literal

from atrous.analysis.field import Field, field_of, together
from atrous.analysis.findings.record import Finding
from atrous.analysis.flow import Flow, flows
from atrous.analysis.layer import Layer, LayerPart
from atrous.analysis.memory import Memory, bytes_moved_in, memory_of
from atrous.errors import GeometryError, NetworkError, UnsupportedError, concerning, unknown
from atrous.files import write_whole
from atrous.network import EagerRun, Network, Tensor
from atrous.network.ops import Permute, Reshape
from atrous.network.training import Training
from atrous.shown import ShownWhole, Tabular, view

if TYPE_CHECKING:
    from atrous.analysis.footprint import Footprint
    from atrous.analysis.information import Information
    from atrous.analysis.paths import Walks
    from atrous.analysis.rates import Pyramid
    from atrous.analysis.scale import Scale
    from atrous.analysis.stretches import Boxes, Stretches
    from atrous.analysis.trace import Trace

Kind = Literal["overview", "field", "resolution", "coverage", "cost", "memory"]
"""What `plot` draws."""
Colouring = Literal["coverage", "cost", "resolution"]
"""What the boxes of a graph are coloured by."""

__all__ = ["SCHEMA", "Inspection", "Layer", "inspect_network", "layer_footprint"]

SCHEMA = "atrous.inspection/1"
SCATTERED = (
    "its dimensions look like a map and hold positions in another order, as after a reshape that "
    "should be a permute; permute before reshaping, or inspect the layer before"
)


@dataclass(frozen=True, slots=True, repr=False)
class Inspection(ShownWhole, Tabular):
    """What each layer of a network sees of one input, and what it costs.

    >>> import atrous
    >>> report = atrous.inspect("zoo:resnet50", (1, 3, 224, 224))
    >>> report["layer4.2.conv3"].field[0].size, report.outputs[0].is_global
    (427, True)
    >>> report.macs, report.params
    (4089184256, 25557032)
    """

    network: Network
    input: str
    layers: tuple[Layer, ...]
    outputs: tuple[Layer, ...]
    memory: Memory
    scales: Mapping[str, Scale] = record_field(default_factory=dict, hash=False)
    training: Training | None = None
    # What is worked out only when it is asked for; it follows from the rest, so it is no state.
    _known: dict[Any, Any] = record_field(default_factory=dict, repr=False, compare=False)

    def __getitem__(self, name: str) -> Layer:
        """The layer of that name; else the last one inside the module of that name."""
        node = self.network.node(str(name))
        return next(layer for layer in self.layers if layer.node is node)

    def __iter__(self) -> Any:
        return iter(self.layers)

    def __len__(self) -> int:
        return len(self.layers)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of all layers; FLOPs are twice that."""
        return self.network.macs

    @property
    def integer_macs(self) -> int:
        """Those of the MACs that multiply whole numbers, as quantized layers do."""
        return self.network.integer_macs

    @property
    def flops(self) -> int:
        """Two for each multiply-accumulate."""
        return 2 * self.macs

    @property
    def params(self) -> int:
        """Parameters, each counted once however often it is used: of a module, all that it has.

        These are the trainable, the frozen and the unused ones. Buffers are not among them.
        """
        return self.network.param_count

    @property
    def trainable_params(self) -> int:
        """Parameters that some layer reads and that training changes."""
        return self.params - self.frozen_params - self.unused_params

    @property
    def frozen_params(self) -> int:
        """Parameters that some layer reads and that training leaves as they are."""
        unused = {param.name for param in self.network.unused_params}
        held = self.network.params.items()
        frozen = (p for name, p in held if not (p.buffer or p.trainable or name in unused))
        return sum(param.count for param in frozen)

    @property
    def unused_params(self) -> int:
        """Parameters that no layer reads at inference."""
        return sum(param.count for param in self.network.unused_params)

    @property
    def parameter_bytes(self) -> int:
        """The size of all parameters."""
        return sum(p.count * p.itemsize for p in self.network.params.values() if not p.buffer)

    @property
    def activation_bytes(self) -> int:
        """The sizes of all layers' outputs added up, views and in-place ops included."""
        return sum(layer.activation_bytes for layer in self.layers)

    @property
    def peak_memory_bytes(self) -> int:
        """The most bytes of activations alive at one time; parameters are not among them.

        Of a module, those of its eager run (`eager`); where there is none, those of the graph
        (`memory`), which are then at least what a module needs that could not be run.
        """
        held = self.eager.peak_bytes if self.eager is not None else None
        return self.memory.peak_bytes if held is None else held

    @property
    def peak_memory_layer(self) -> str:
        """The layer that runs while the peak is reached."""
        measured = self.eager is not None and self.eager.peak_bytes is not None
        return self.eager.at if self.eager is not None and measured else self.memory.at

    @property
    def eager(self) -> EagerRun | None:
        """What a module holds while it runs as it is, names and lists in Python included.

        None for what is no module, and has nothing but its graph.
        """
        return self.network.eager

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What needs attention, the most serious first, each with its layer and a fix."""
        key = ("findings", *self.scales.items()) if self.scales else "findings"
        if key not in self._known:
            from atrous.analysis.findings import findings_of
            from atrous.analysis.findings.evidence import Evidence

            evidence = Evidence(self.network, self.input, self.layers, self.outputs, self.scales)
            self._known[key] = findings_of(evidence)
        found: tuple[Finding, ...] = self._known[key]
        return found

    @property
    def pyramids(self) -> tuple[Pyramid, ...]:
        """Convolutions of several rates side by side on one map, and what lies inside of each.

        >>> import atrous
        >>> [found] = atrous.inspect("zoo:deeplabv3_resnet50_os16", (1, 3, 513, 513)).pyramids
        >>> [branch.rate[0] for branch in found.branches], found.scaled
        ([6, 12, 18], (6, 12, 18))
        """
        if "pyramids" not in self._known:
            from atrous.analysis.rates import pyramids_of

            self._known["pyramids"] = pyramids_of(self.network)
        found: tuple[Pyramid, ...] = self._known["pyramids"]
        if not self.scales:
            return found
        hops = {one.name: {f.axis: f.stride for f in one.field} for one in self.layers}
        plain = dict.fromkeys(self.network.axes, Fraction(1))
        return tuple(one.scaled_by(self.scales, hops.get(one.source, plain)) for one in found)

    @property
    def complete(self) -> bool:
        """False where some layer's reads are not known."""
        return not any(node.opaque for node in self.network.nodes) and all(
            layer.complete for layer in self.outputs
        )

    @property
    def opaque(self) -> tuple[str, ...]:
        """The ops not understood, each with the reason, and outputs whose field never repeats."""
        nodes = {n.name: f"{n.name}: {n.opaque}" for n in self.network.nodes if n.opaque}
        fields = (gap for layer in self.outputs for gap in layer.opaque if gap not in nodes)
        return (*nodes.values(), *dict.fromkeys(fields))

    @property
    def uncounted(self) -> dict[str, tuple[str, ...]]:
        """Which totals are only lower bounds, and the layers that they leave out.

        `"macs"` where what some op multiplies is not known, `"memory"` where some tensor's size is
        not, or what a module holds that cannot be run without numbers. The number beside is then at
        least what is needed, and never meets an upper limit.

        >>> import atrous
        >>> atrous.inspect("stack:k3 k3", (1, 1, 9)).uncounted
        {}
        """
        held: tuple[str, ...] = self.network.unsized
        if self.eager is not None:
            reason = f"what its run holds beyond the graph ({self.eager.reason})"
            held = (*held, reason) if self.eager.peak_bytes is None else ()
        found = {"macs": self.network.uncounted, "memory": held}
        return {quantity: layers for quantity, layers in found.items() if layers}

    def footprint(
        self, layer: str | None = None, at: int | Sequence[int] | None = None
    ) -> Footprint:
        """Exactly the input positions that output position `at` of `layer` reads.

        `layer` is the network's (last) output unless given; `at` its middle, `size // 2`. Of maps
        that lie end to end, as in the head of a detector, a position is its row. Raises
        `UnsupportedError` where the reads pass through an op that is not understood.
        """
        chosen = self.outputs[-1] if layer is None else self[layer]
        return layer_footprint(self, chosen, _position(at))

    def information(self, layer: str | None = None) -> Information:
        """How many positions of `layer` (the last output) read each input position, exactly.

        Raises `UnsupportedError` where the reads pass through an op that is not understood.
        """
        from atrous.analysis.information import information_of

        chosen = self.outputs[-1] if layer is None else self[layer]
        with concerning(chosen.name):
            return information_of(self.network, chosen.tensor, self.input, chosen.name)

    def trace(self, layer: str | None = None, at: Sequence[int] | None = None) -> Trace:
        """What one position of `layer` (the last output) reads of every tensor before it.

        `at` has one index for each axis of the input, 0 unless given; like fields, a trace ignores
        where tensors end. Coverage that falls below 1 from a layer to the ones before it shows
        where holes open, coverage that comes back where they are filled.

        >>> import atrous
        >>> trace = atrous.inspect("stack:k3 k3d2 k3d4", (1, 1, 64)).trace()
        >>> [(seen.name, seen.field[0].taps, seen.field[0].size) for seen in trace]
        [('conv2', 3, 9), ('conv1', 7, 13), ('x', 15, 15)]
        """
        from atrous.analysis.trace import trace_of

        chosen = self.outputs[-1] if layer is None else self[layer]
        with concerning(chosen.name):
            return trace_of(self.network, self.input, self.layers, chosen, at)

    def scaled(self, *, rate: Any = None, pixel: Any = None) -> Inspection:
        """The same report, whose positions are shown in ms and lengths as well.

        `rate` is positions per second along the axis of time (16000, "44.1k"), `pixel` the size of
        a position along the others: "0.5um", or one for each of them. `scales` then has one for
        each axis, which `times`, `boxes`, text, pages and JSON use. Raises `ReadError` for what is
        no rate or size, or where the input has no such axis.

        >>> import atrous
        >>> report = atrous.inspect("stack:k400s320valid", (1, 1, 16000)).scaled(rate=16000)
        >>> str(report).splitlines()[3:5]
        ['receptive field  400 (t), 100% read; 25 ms', 'output stride    320; 20 ms']
        """
        from atrous.analysis.scale import scales_of

        axes = tuple(self.network.tensor(self.input).grid)
        return replace(self, scales={**self.scales, **scales_of(axes, rate, pixel)})

    def times(self, rate: Any = None, *, layer: str | None = None) -> Stretches:
        """For each output along its one axis: the stretch of the input that it reads.

        From `start` up to `stop` without it, as a slice in Python. Of `layer`, or the network's
        (last) output; in input positions, or with `rate` (positions per second: 16000, "44.1k") in
        ms. Raises `UnsupportedError` where what is read is not
        known or the output has no positions along exactly one axis, `ReadError` for a bad rate.

        >>> import atrous
        >>> times = atrous.inspect("stack:k8s4 k3d2", (1, 1, 64)).times(rate=1000)
        >>> times.start[2].item(), times.center[2].item(), float(times.hop)
        (-3.0, 8.5, 4.0)
        """
        from atrous.analysis.scale import per_rate
        from atrous.analysis.stretches import stretches_of

        chosen = self._known_of(layer)
        scales = self.scales if rate is None else dict.fromkeys(self.network.axes, per_rate(rate))
        with concerning(chosen.name):
            return stretches_of(self.network, chosen, self.input, scales)

    def boxes(self, layer: str | None = None, *, pixel: Any = None) -> Boxes:
        """For each output: the box of the input that it reads, and its centre.

        From `start` up to `stop` without it, as a slice in Python. Of `layer`, or the network's
        (last) output; in input positions, or with `pixel`, the size of one ("0.5um", or one for
        each axis), in its unit. Raises `UnsupportedError` where what
        is read is not known, `ReadError` for a bad size.

        >>> import atrous
        >>> atrous.inspect("stack:k3s2 k3", (1, 1, 64, 64)).boxes(pixel="0.5um").at((0, 4))
        ((-1.5, 2.0), (2.5, 6.0))
        """
        from atrous.analysis.stretches import boxes_of

        chosen = self._known_of(layer)
        scales = self.scales if pixel is None else self.scaled(pixel=pixel).scales
        with concerning(chosen.name):
            return boxes_of(self.network, chosen, self.input, scales)

    def _known_of(self, name: str | None) -> Layer:
        chosen = self.outputs[-1] if name is None else self[name]
        if chosen.opaque:
            raise UnsupportedError(
                f"{chosen.name}: what is read through {', '.join(chosen.opaque)} is not known."
            )
        return chosen

    def seen_from(self, input: str) -> Inspection:
        """The same report with the fields measured on another input of the network."""
        return replace(
            inspect_network(self.network, input=input), scales=self.scales, training=self.training
        )

    def to_dict(self) -> dict[str, object]:
        """Plain data under a versioned schema."""
        shapes = {t.name: list(t.shape) for t in self.network.inputs}
        return {
            "schema": SCHEMA,
            "network": self.network.name,
            "inputs": shapes,
            "input": self.input,
            "complete": self.complete,
            "opaque": list(self.opaque),
            "notes": list(self.network.notes),
            "scales": {axis: scale.to_dict() for axis, scale in self.scales.items()},
            "macs": self.macs,
            "integer_macs": self.integer_macs,
            "flops": self.flops,
            "params": self.params,
            "trainable_params": self.trainable_params,
            "frozen_params": self.frozen_params,
            "unused_params": self.unused_params,
            "parameter_bytes": self.parameter_bytes,
            "peak_memory_bytes": self.peak_memory_bytes,
            "peak_memory_layer": self.peak_memory_layer,
            "memory": {
                "eager": None if self.eager is None else self.eager.to_dict(),
                "graph": self.memory.to_dict(),
                "training": None if self.training is None else self.training.to_dict(),
            },
            "uncounted": {name: list(layers) for name, layers in self.uncounted.items()},
            "findings": [finding.to_dict() for finding in self.findings],
            "pyramids": [found.to_dict() for found in self.pyramids],
            "outputs": [self._plain(layer) for layer in self.outputs],
            "layers": [self._plain(layer) for layer in self.layers],
        }

    def _plain(self, layer: Layer) -> dict[str, object]:
        """A layer as plain data, and where there is a scale its fields in the unit as well."""
        scaled = {"scaled": layer.scaled(self.scales)} if self.scales else {}
        return layer.to_dict() | scaled

    def to_html(
        self,
        path: str | os.PathLike[str],
        *,
        image: Any = None,
        beside: Inspection | None = None,
    ) -> None:
        """Writes the report as one HTML file that opens offline.

        Findings, charts, the footprint of every layer, the graph, and the table of layers. `image`,
        a path or a Pillow image, is stretched over the input and lies behind the footprints;
        `beside` is another report, shown next to this one with what differs. Needs the extra
        `report`: raises `MissingDependencyError` without it, `ReadError` for what is no image.
        """
        write_whole(path, view(self).page(image=image, beside=beside))

    def plot(self, kind: Kind = "overview", *, beside: Inspection | None = None) -> Any:
        """A chart of the report, as an `altair.Chart`: shown in notebooks, `.save("x.svg")`.

        `kind` is `"field"` (receptive field by depth), `"resolution"` (sizes of maps),
        `"coverage"` (holes opened and filled), `"cost"` (by stage), `"memory"` (over time) or
        `"overview"`, all of them. `beside` is another report in the same axes. Raises
        `MissingDependencyError` without the extra `report`.

        >>> import atrous
        >>> chart = atrous.inspect("stack:k3 k3d2 k3d4", (1, 8, 64, 64)).plot("field")
        >>> chart.title.text
        'Receptive field by depth'
        """
        return view(self).plot(kind, beside=beside)

    def graph(self, module: str = "", *, colour: Colouring = "coverage") -> str:
        """The network as a graph, in SVG: modules folded, findings as marks.

        `module` names the one whose inside is drawn; `colour` says what boxes are coloured by:
        `"coverage"`, `"cost"` or `"resolution"`. Raises `UnknownNameError` for a module that is
        not there, `MissingDependencyError` without the extra `report`.

        >>> import atrous
        >>> svg = atrous.inspect("zoo:resnet50").graph("layer4.0", colour="cost")
        >>> svg.startswith("<svg") and "downsample" in svg
        True
        """
        return view(self).graph(module, colour)

    __repr__ = ShownWhole.__str__


def inspect_network(
    network: Network, *, input: str | None = None, output: str | None = None
) -> Inspection:
    """The report of a network already read, with fields measured on `input`.

    Left out, `input` is the first input that has spatial axes. `output` reports on one layer as if
    it were the network's only output.
    """
    source = _source(network, input)
    found = flows(network, source.name)
    axes = tuple(source.grid)
    fields: dict[tuple[str, int, int], Field | None] = {}
    kept: list[Any] = []

    known_flows: dict[int, tuple[Field, ...]] = {}

    def fields_of(flow: Flow, grid: Mapping[str, int]) -> tuple[Field, ...] | None:
        # Most ops hand their flow on as it is, so one object serves a run of layers.
        known = known_flows.get(id(flow))
        if known is not None:
            return known
        if flow.parts:
            return _over_parts(axes, [fields_of(part.flow, grid) for part in flow.parts])
        out = []
        periodic = True
        for axis in axes:
            bundle = flow.reads.get(axis)
            if bundle is None:
                continue
            # Only reads that drift apart depend on how many outputs there are.
            length = 0
            if len(bundle) > 1:
                length, periodic = grid.get(axis, 1), False
            key = (axis, id(bundle), length)
            if key not in fields:
                fields[key] = field_of(axis, bundle, length)
                kept.append(bundle)
            field = fields[key]
            if field is None:
                return None
            out.append(field)
        if periodic:
            known_flows[id(flow)] = tuple(out)
        return tuple(out)

    moved = bytes_moved_in(network)
    counts = {name: 0 if p.buffer else p.count for name, p in network.params.items()}
    layers = []
    for node in network.nodes:
        flow = found.get(node.output.name)
        seen: tuple[Field, ...] = ()
        mixed: Mapping[str, tuple[str, ...]] = {}
        gaps: tuple[str, ...] = ()
        parts: tuple[LayerPart, ...] = ()
        if flow is not None:
            mixed, gaps = flow.mixed, flow.opaque
            known = fields_of(flow, node.output.grid)
            if node.output.name in network.outputs and _looks_like_a_map(node.output, source):
                gaps = (*gaps, f"{node.name} ({SCATTERED})")
            elif known is None:
                gaps = (f"{node.name} (its branches never line up)",)
            else:
                seen = known
                parts = tuple(
                    LayerPart(
                        _laid_from(network, part.source),
                        part.start,
                        part.length,
                        fields_of(part.flow, node.output.grid) or (),
                        part.flow.mixed,
                        part.first,
                    )
                    for part in flow.parts
                )
        output_tensor = node.output
        layers.append(
            Layer(
                name=node.name,
                op=node.kind,
                output_shape=output_tensor.shape,
                macs=node.macs,
                params=sum(counts[name] for name in node.params) if node.params else 0,
                activation_bytes=output_tensor.nbytes,
                field=seen,
                globals=_names(mixed),
                global_axes=mixed,
                opaque=gaps,
                module=node.module,
                tensor=output_tensor.name,
                node=node,
                bytes_moved=moved(node),
                parts=parts,
            )
        )
    report = Inspection(network, source.name, tuple(layers), (), memory_of(network))
    by_tensor = {layer.tensor: layer for layer in layers}
    ends: tuple[Layer, ...]
    if output is not None:
        ends = (report[output],)
    else:
        ends = tuple(
            by_tensor[name] if name in by_tensor else _input_layer(network.tensor(name))
            for name in network.outputs
        )
    return Inspection(network, source.name, report.layers, ends, report.memory)


def layer_footprint(
    report: Inspection,
    layer: Layer,
    at: Sequence[int] | None = None,
    walks: Walks | None = None,
) -> Footprint:
    """`Inspection.footprint` of a layer of the report; `walks` shares what many have in common."""
    from atrous.analysis.paths import footprint_of

    network = report.network
    with concerning(layer.name):
        # Where only the field cannot be written down, the footprint still can.
        unknown_ops = [n.name for n in network.nodes if n.opaque] if layer.opaque else ()
        gaps = [name for name in layer.opaque if name in unknown_ops]
        if gaps:
            raise UnsupportedError(f"what is read through {', '.join(gaps)} is not known.")
        tensor = network.tensor(layer.tensor)
        if tensor.name in network.outputs and _looks_like_a_map(
            tensor, network.tensor(report.input)
        ):
            raise UnsupportedError(f"{SCATTERED}.")
        found = footprint_of(network, layer.tensor, at, report.input, walks)
        return replace(found, scales=report.scales) if report.scales else found


def _looks_like_a_map(output: Tensor, source: Tensor) -> bool:
    """Whether an output looks like a map, its own or the input's, and is none.

    So it is where channels and positions were reshaped into each other: the sizes are those of a
    map again, and a place in them is no place of an axis.
    """
    grid = output.grid
    maps = (sorted(grid.values()), sorted(source.grid.values()))
    if len(output.shape) != 2 + len(grid) or sorted(output.shape[2:]) not in maps:
        return False
    whole = {(dim[0].axis, dim[0].size) for dim in output.layout if len(dim) == 1}
    return any(size > 1 and (axis, size) not in whole for axis, size in grid.items())


def _over_parts(
    axes: Sequence[str], parts: Sequence[tuple[Field, ...] | None]
) -> tuple[Field, ...] | None:
    """For each axis one field over all parts; None where that of some part is not known."""
    known = [fields for fields in parts if fields is not None]
    if len(known) < len(parts):
        return None
    by_axis = [[f for fields in known for f in fields if f.axis == axis] for axis in axes]
    return tuple(together(fields) for fields in by_axis if fields)


def _laid_from(network: Network, tensor: str) -> str:
    """The layer that made what was laid end to end, before it was given another shape."""
    while True:
        maker = network.maker(tensor)
        if maker is None or not isinstance(maker.op, Reshape | Permute):
            return tensor if maker is None else maker.name
        tensor = maker.inputs[0]


def _position(at: Any) -> tuple[int, ...] | None:
    if at is None:
        return None
    try:
        return (index(at),) if not isinstance(at, Sequence) else tuple(index(p) for p in at)
    except TypeError:
        raise GeometryError(
            f"position {at!r} is not made of whole numbers; give one index for each spatial axis."
        ) from None


def _source(network: Network, name: str | None) -> Tensor:
    names = {t.name: t for t in network.inputs}
    if name is not None:
        if name not in names:
            raise unknown("input", name, names)
        return names[name]
    if not network.inputs:
        raise NetworkError("the network has no input, so nothing can be read.")
    return next((t for t in network.inputs if t.grid), network.inputs[0])


def _input_layer(tensor: Tensor) -> Layer:
    from atrous.geometry import Reads

    fields = tuple(
        field
        for axis, length in tensor.grid.items()
        if (field := field_of(axis, (Reads.identity(),), length)) is not None
    )
    return Layer(
        name=tensor.name,
        op="input",
        output_shape=tensor.shape,
        macs=0,
        params=0,
        activation_bytes=tensor.nbytes,
        field=fields,
        globals=(),
        global_axes={},
        opaque=(),
        module="",
        tensor=tensor.name,
    )


def _names(mixed: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    if not mixed:
        return ()
    values = list(mixed.values())
    if all(value is values[0] or value == values[0] for value in values[1:]):
        return values[0]
    return tuple(dict.fromkeys(name for value in values for name in value))
