"""One op of a network: what it sees and what it costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from dataclasses import field as record_field
from fractions import Fraction
from math import prod

from atrous.analysis.field import Field
from atrous.analysis.scale import Scale
from atrous.geometry import Windowed
from atrous.network import Node
from atrous.shown import Shown

__all__ = ["Layer", "LayerPart"]


@dataclass(frozen=True, slots=True)
class LayerPart(Shown):
    """What positions `start` up to `start + length` of a layer see: those that came from `source`.

    The field is that of the positions of the source, of which the first is number `first`.
    """

    source: str
    start: int
    length: int
    field: tuple[Field, ...]
    global_axes: Mapping[str, tuple[str, ...]] = record_field(hash=False)
    first: int = 0

    @property
    def name(self) -> str:
        """The rows that it takes, first and last."""
        return f"rows {self.start} to {self.start + self.length - 1}"

    def to_dict(self) -> dict[str, object]:
        """Plain data, for JSON."""
        return {
            "source": self.source,
            "start": self.start,
            "length": self.length,
            "first": self.first,
            "field": [axis.to_dict() for axis in self.field],
            "global_axes": {axis: list(names) for axis, names in self.global_axes.items()},
        }

    def __str__(self) -> str:
        seen = "; ".join(map(str, self.field)) or "no positions"
        return f"{self.name} (from {self.source}): {seen}"


@dataclass(frozen=True, slots=True)
class Layer(Shown):
    """One op of the network, in execution order.

    `field` has one record for each spatial axis of the input; it is empty where the layer does not
    depend on the input, and where reads are not known (`complete` is then False and `opaque` names
    the ops at fault). `globals` names the ops that mixed all positions of an axis on the way here;
    `field` stays the local field. `macs` counts multiply-accumulates (FLOPs are twice that),
    `params` the parameters that this layer uses, `activation_bytes` the size of its output.
    Where maps that read differently lie end to end, as in the head of a detector, `parts` says what
    each of them sees, and `field` has the largest of each number.
    """

    name: str
    op: str
    output_shape: tuple[int, ...]
    macs: int
    params: int
    activation_bytes: int
    field: tuple[Field, ...]
    globals: tuple[str, ...]
    global_axes: Mapping[str, tuple[str, ...]] = record_field(hash=False)
    opaque: tuple[str, ...]
    module: str
    tensor: str = record_field(repr=False)
    node: Node | None = record_field(default=None, repr=False, compare=False)
    bytes_moved: int = 0
    parts: tuple[LayerPart, ...] = ()

    def apart(self) -> tuple[Layer, ...]:
        """The layer, or each of its parts as a layer of its own where several lie end to end."""
        if len(self.parts) < 2:
            return (self,)
        return tuple(
            replace(
                self,
                name=f"{self.name}, {part.name}",
                field=part.field,
                global_axes=part.global_axes,
                parts=(),
            )
            for part in self.parts
        )

    @property
    def part_sources(self) -> str:
        """The layers that made the parts that lie end to end in this one, as words."""
        return ", ".join(dict.fromkeys(part.source for part in self.parts))

    @property
    def uncounted(self) -> bool:
        """True where the multiply-accumulates are not known; `macs` is then 0."""
        return self.node is not None and self.node.uncounted

    @property
    def unread_taps(self) -> tuple[tuple[int, ...], ...]:
        """The taps that are left out of the reads, since the weight is 0 for all channels there.

        Of a linear layer, the indices of its last dimension. They count in `macs`.
        """
        unread = () if self.node is None else getattr(self.node.op, "unread", ())
        return tuple(tap if isinstance(tap, tuple) else (tap,) for tap in unread)

    @property
    def sized(self) -> bool:
        """False where the shape of the output is not known; `output_shape` is then empty."""
        return self.node is None or self.node.output.sized

    @property
    def is_global(self) -> bool:
        """True once some op mixed all positions of an axis."""
        return bool(self.globals)

    @property
    def complete(self) -> bool:
        """False where the reads pass through an op that is not understood."""
        return not self.opaque

    @property
    def flops(self) -> int:
        """Two for each multiply-accumulate."""
        return 2 * self.macs

    @property
    def intensity(self) -> float:
        """Arithmetic intensity: FLOPs for each byte moved, 0.0 where none is.

        Bytes moved are each input and parameter read once and the output written once; views move
        nothing. Caches that hold less, and kernels that read twice, move more.
        """
        return self.flops / self.bytes_moved if self.bytes_moved else 0.0

    @property
    def output_stride(self) -> tuple[Fraction, ...]:
        """Input positions per output position, for each spatial axis of the input."""
        return tuple(axis.stride for axis in self.field)

    def scaled(self, scales: Mapping[str, Scale]) -> list[dict[str, object]]:
        """The fields along the axes that have a scale, in its unit, as plain data."""
        return [axis.scaled(scales[axis.axis]) for axis in self.field if axis.axis in scales]

    @property
    def detail(self) -> str:
        """A short description of the op: `k3 s2 d1 p1` for windows, a label for the rest."""
        return "" if self.node is None else detail_of(self.node)

    def to_dict(self) -> dict[str, object]:
        """Plain data, for JSON."""
        return {
            "name": self.name,
            "op": self.op,
            "module": self.module,
            "detail": self.detail,
            "output_shape": list(self.output_shape),
            "macs": self.macs,
            "params": self.params,
            "activation_bytes": self.activation_bytes,
            "bytes_moved": self.bytes_moved,
            "intensity": self.intensity,
            "unread_taps": [list(tap) for tap in self.unread_taps],
            "field": [axis.to_dict() for axis in self.field],
            "parts": [part.to_dict() for part in self.parts],
            "is_global": self.is_global,
            "globals": list(self.globals),
            "global_axes": {axis: list(names) for axis, names in self.global_axes.items()},
            "complete": self.complete,
            "opaque": list(self.opaque),
            "uncounted": self.uncounted,
            "sized": self.sized,
        }

    def __str__(self) -> str:
        shape = "x".join(map(str, self.output_shape)) if self.sized else "of unknown shape"
        seen = "; ".join(map(str, self.field)) or ("not known" if self.opaque else "no positions")
        return f"{self.name} ({self.op}) {shape}: {seen}"


def detail_of(node: Node) -> str:
    """A short description of the op: `k3 s2 d1 p1` for windows, a label for the rest."""
    op = node.op
    if isinstance(op, Windowed) and op.windows:
        parts = ["k" + _one_or_all(op.kernel)]
        for letter, values in (("s", op.stride), ("d", op.dilation)):
            if set(values) != {1}:
                parts.append(letter + _one_or_all(values))
        pads = [str(lo) if lo == hi else f"{lo}+{hi}" for lo, hi in op.padding]
        if any(pad != "0" for pad in pads):
            parts.append("p" + _one_or_all(pads))
        groups = getattr(op, "groups", 1)
        if groups > 1:
            parts.append(f"g{groups}")
        unread = getattr(op, "unread", ())
        if unread:
            taps = prod(op.kernel)
            parts.append(f"{taps - len(unread)}/{taps} taps")
        return " ".join(parts)
    return str(getattr(op, "label", "") or "")


def _one_or_all(values: Sequence[object]) -> str:
    if all(value == values[0] for value in values):
        return str(values[0])
    return "(" + ",".join(map(str, values)) + ")"
