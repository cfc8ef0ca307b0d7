"""The network of a text in the stack notation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from math import gcd, lcm

from atrous.errors import NetworkError, ReadError, concerning
from atrous.geometry import Dialect, Window, pad, transposed_pads
from atrous.network.builder import AXES, Builder, per_axis
from atrous.network.ops import Resize
from atrous.network.records import Network, Node, Param, Tensor
from atrous.network.stack.notation import stack_parts
from atrous.network.stack.records import StackJoin, StackLayer, StackPart, stack_text_of
from atrous.network.stack.words import HELP, LARGEST, brief

__all__ = ["stack_network"]

# What a stack reads and what it upsamples by may reach.
_FARTHEST = 1 << 18
_FINEST = 1 << 12
_SHOWN = 72


def stack_network(text: str, shape: Sequence[int]) -> Network:
    """The network of a text in the stack notation, on an input with batch and channels.

    The number of spatial axes, 1 to 3, is that of the shape. Nodes are named by kind and place.
    A branch that ends in one position after `global` is spread over the size of the others.
    Raises `ReadError` for a text or a shape that cannot be read, `GeometryError` or `NetworkError`
    naming the layer that does not fit its input, or the branch that does not fit the others.

    >>> print(stack_network("k3s2x64 k3d2x128", (1, 3, 64, 64)))
    k3s2x64 k3d2x128: 2 nodes, input x 1x3x64x64, 75,456 parameters, 77,266,944 MACs
    >>> stack_network("k3 [ | maxk2s2 k3 ups2]", (1, 8, 32, 32)).outputs
    ('concat5',)
    """
    parts = stack_parts(text)
    rank = len(shape) - 2
    if rank not in AXES:
        raise ReadError(
            f"a stack takes an input of batch, channels and 1 to 3 spatial sizes, got "
            f"{_shown_shape(shape)}; give a shape such as 1,3,224,224."
        )
    b = Builder(brief(stack_text_of(parts), _SHOWN))
    start = _Map(b.input("x", shape))
    return b.build(_Maker(b, rank).run(parts, start, _Reach(rank)).tensor)


@dataclass(frozen=True, slots=True)
class _Map:
    """A tensor, and whether it holds the one position that `global` left."""

    tensor: Tensor
    pooled: bool = False

    @property
    def single(self) -> bool:
        """Whether it is to be spread over the others that it joins."""
        return self.pooled and set(self.sizes) == {1}

    @property
    def sizes(self) -> tuple[int, ...]:
        """Its spatial sizes."""
        return self.tensor.shape[2:]


class _Maker:
    """Adds the parts of a stack to a network."""

    def __init__(self, builder: Builder, rank: int) -> None:
        self.builder, self.rank = builder, rank

    def run(self, parts: Sequence[StackPart], x: _Map, reach: _Reach) -> _Map:
        """What comes out behind the parts."""
        for part in parts:
            with concerning(part.name):
                if isinstance(part, StackJoin):
                    x = self.join(part, x, reach)
                else:
                    reach.check(part)
                    made = self.builder.take(*_layer_node(x.tensor, part, part.name, self.rank))
                    x = _Map(made, x.pooled or part.kind == "global")
        return x

    def join(self, join: StackJoin, x: _Map, reach: _Reach) -> _Map:
        """The branches of a join, concatenated or added."""
        ends: list[_Map] = []
        reaches: list[_Reach] = []
        for branch in join.branches:
            reaches.append(reach.copy())
            ends.append(self.run(branch, x, reaches[-1]))
        reach.take(reaches)
        lead = next((i for i, end in enumerate(ends) if not end.single), 0)
        sizes = ends[lead].sizes
        tensors: list[Tensor] = []
        for i, end in enumerate(ends):
            if end.single and end.sizes != sizes:
                name = f"{join.name}.spread{i + 1}"
                end = _Map(self.builder.resize(end.tensor, sizes, linear=False, name=name))
            if end.sizes != sizes:
                raise _misfit(join, i, _x(end.sizes), lead, _x(sizes), _SIZES)
            tensors.append(end.tensor)
        pooled = all(end.pooled for end in ends)
        return _Map(self.joined(join, tensors), pooled)

    def joined(self, join: StackJoin, tensors: Sequence[Tensor]) -> Tensor:
        """Maps of one size, joined."""
        channels = [tensor.shape[1] for tensor in tensors]
        if join.how == "concat":
            if sum(channels) > LARGEST:
                raise ReadError(
                    f"up to here the stack has {sum(channels):,} channels, of which at most "
                    f"{LARGEST:,} are read; use smaller ones."
                )
            return self.builder.concat(*tensors, name=join.name)
        other = next((i for i, n in enumerate(channels) if n != channels[0]), None)
        if other is not None:
            made, wanted = f"{channels[other]} channels", f"{channels[0]} channels"
            raise _misfit(join, other, made, 0, wanted, _CHANNELS)
        return self.builder.join(*tensors, label="add", name=join.name)


_SIZES = (
    "the branches of a bracket end at one size: pad with `same` or `causal`, stride alike, and "
    "undo a stride with `up` or `tconv`; or take an input whose sizes the strides divide"
)
_CHANNELS = "a sum needs one number: end each branch in the same `x`, an empty one in `k1x...`"


def _misfit(
    join: StackJoin, other: int, made: str, lead: int, wanted: str, fix: str
) -> NetworkError:
    """The error for a branch that does not fit another one, and how it would."""

    def named(i: int) -> str:
        branch = stack_text_of(join.branches[i])
        text = f"`{brief(branch, 40)}`" if branch else "empty"
        return f"branch {i + 1} ({text}, column {join.columns[i]})"

    error = NetworkError(f"{named(other)} makes {made}, {named(lead)} makes {wanted}; {fix}.")
    error.see = HELP
    return error


@lru_cache(4096)
def _layer_node(
    x: Tensor, layer: StackLayer, name: str, rank: int
) -> tuple[Node, tuple[Param, ...]]:
    """The node of a layer on a map, and its parameters: after an edit most are those before it.

    `name` is that of the layer, which layers that are equal need not share.
    """
    b = Builder(name)
    _add(b, x, layer, rank)
    [node] = b.since(0)
    return node, b.params


def _add(b: Builder, x: Tensor, layer: StackLayer, rank: int) -> Tensor:
    stride = per_axis(layer.stride, rank, "stride")
    sizes = x.shape[2:]
    if layer.kind == "global":
        return b.global_pool(x, layer.name)
    if layer.kind == "up":
        up = tuple(n * s for n, s in zip(sizes, stride, strict=True))
        scales = tuple(map(Fraction, stride))
        # The sample nearest to the output's middle: each is repeated exactly, at any length.
        op = Resize(up, "nearest", "half_pixel", scales, "round_prefer_floor")
        return b.add(op, x, name=layer.name)
    kernel = per_axis(layer.kernel, rank, "kernel")
    dilation = per_axis(layer.dilation, rank, "dilation")
    channels = x.shape[1] if layer.channels is None else layer.channels
    pads: tuple[tuple[int, int], ...]
    if layer.kind == "tconv":
        found = [
            (*layer.padding, 0)
            if isinstance(layer.padding, tuple)
            else transposed_pads(layer.padding, Window(k, s, d))
            for k, s, d in zip(kernel, stride, dilation, strict=True)
        ]
        pads = tuple((lo, hi) for lo, hi, _ in found)
        return b.conv_transpose(
            x,
            channels,
            kernel,
            stride=stride,
            dilation=dilation,
            padding=pads,
            output_padding=tuple(extra for _, _, extra in found),
            name=layer.name,
        )
    pads = tuple(
        _pads(layer.padding, k, s, d) for k, s, d in zip(kernel, stride, dilation, strict=True)
    )
    if layer.kind in ("max", "avg"):
        return b.pool(
            x,
            kernel,
            stride=stride,
            dilation=dilation,
            padding=pads,
            average=layer.kind == "avg",
            name=layer.name,
        )
    return b.conv(
        x,
        channels,
        kernel,
        stride=stride,
        dilation=dilation,
        padding=pads,
        groups=x.shape[1] if layer.kind == "dw" else 1,
        name=layer.name,
    )


def _pads(
    padding: Dialect | tuple[int, int], kernel: int, stride: int, dilation: int
) -> tuple[int, int]:
    if isinstance(padding, tuple):
        return padding
    return pad(padding, kernel, stride, dilation)


class _Reach:
    """How far a stack reads so far along each axis: no record is made of more than can be held.

    Lengths are whole numbers of parts of an input position: of 1 / `_fine`, one for each axis.
    """

    def __init__(self, rank: int) -> None:
        self._size, self._stride, self._fine = [1] * rank, [1] * rank, [1] * rank

    def copy(self) -> _Reach:
        """The same, for one branch."""
        made = _Reach(0)
        made._size, made._stride, made._fine = self._size[:], self._stride[:], self._fine[:]
        return made

    def take(self, branches: Sequence[_Reach]) -> None:
        """The farthest of branches that join."""
        for axis in range(len(self._size)):
            fine = lcm(*(branch._fine[axis] for branch in branches))
            for branch in branches:
                branch._split(axis, fine // branch._fine[axis])
            self._fine[axis] = fine
            self._size[axis] = max(branch._size[axis] for branch in branches)
            self._stride[axis] = max(branch._stride[axis] for branch in branches)

    def check(self, layer: StackLayer) -> None:
        """Count `layer` in. Raises `ReadError` where the stack reads, or strides, too far."""
        if layer.kind == "global":
            return
        for axis, window in enumerate(_windows(layer, len(self._size))):
            if layer.kind in ("tconv", "up"):
                self._split(axis, window.stride // gcd(window.stride, self._stride[axis]))
                self._stride[axis] //= window.stride
                self._size[axis] += window.extent * self._stride[axis]
            else:
                self._size[axis] += (window.extent - 1) * self._stride[axis]
                self._stride[axis] *= window.stride
            if max(self._size[axis], self._stride[axis]) > _FARTHEST * self._fine[axis]:
                raise ReadError(
                    f"up to here the stack reaches over more than {_FARTHEST:,} input positions; "
                    "use smaller kernels, strides or dilations."
                )
            if self._fine[axis] > _FINEST * self._stride[axis]:
                raise ReadError(
                    f"up to here the stack upsamples by more than {_FINEST:,}; use smaller strides."
                )

    def _split(self, axis: int, parts: int) -> None:
        """Counts in parts so many times smaller."""
        self._fine[axis] *= parts
        self._size[axis] *= parts
        self._stride[axis] *= parts


@lru_cache(1024)
def _windows(layer: StackLayer, rank: int) -> tuple[Window, ...]:
    """A layer's window along each axis, padding aside."""
    kernels = per_axis(layer.kernel, rank, "kernel")
    strides = per_axis(layer.stride, rank, "stride")
    dilations = per_axis(layer.dilation, rank, "dilation")
    return Window.of_axes(kernels, strides, dilations, (0,) * rank)


def _x(sizes: Sequence[int]) -> str:
    return "x".join(map(str, sizes))


def _shown_shape(shape: Sequence[int]) -> str:
    return brief("x".join(map(str, tuple(shape)[:12]))) or "none"
