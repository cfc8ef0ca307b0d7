"""The calls that a model makes at several lengths of its time axis, call by call alike."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from difflib import SequenceMatcher
from fractions import Fraction
from functools import cached_property
from itertools import islice, product
from math import gcd, lcm
from numbers import Integral
from typing import Any

import torch
from torch import nn

from atrous.errors import ArgumentTypeError, AtrousError, ReadError, UnsupportedError
from atrous.frameworks.torch import module_stack, name_of
from atrous.network.shapes import Shape
from atrous.readers.torch.written_out import join_attention
from atrous.runners.stream.axis import Axis

__all__ = ["Recorded", "Trials", "time_axis"]

_LONGEST_HOP = 1 << 20
_MOST_AXES = 64
_STEPS = (1, 2, 3, 4, 16, 64, 256, 960)
"""Multiples of the strides' period at which code that rounds sizes may have them alike."""
_STRIDED = ("conv", "pool", "unfold", "im2col", "col2im", "stft", "slice", "as_strided")
_NOTHING = frozenset({"aten.alias", "aten.clone", "aten.contiguous", "aten.detach"})
"""Calls that hand on what they get."""
_PASSABLE = _NOTHING | {"aten.pad", "aten.constant_pad_nd", "aten.slice", "aten.narrow"}
"""Calls that code leaves out at lengths where they would do nothing."""


class Recorded:
    """The calls at some lengths, those that the outputs need, in their order."""

    def __init__(self, axis: Axis, lengths: Sequence[int]) -> None:
        self.lengths = tuple(lengths)
        self.program = axis.traced(lengths)
        join_attention(self.program)
        nodes = list(self.program.graph.nodes)
        self.inputs = [node for node in nodes if node.name in self.program.inputs]
        need = {node for node in nodes if node.name in self.program.outputs}
        for node in reversed(nodes):
            if node in need:
                need.update(node.all_input_nodes)
        self.nodes = [node for node in nodes if node in need and node.op != "output"]
        self.calls = [node for node in self.nodes if node.op == "call_function"]
        self.count = sum(name_of(node) not in _NOTHING for node in self.calls)

    @property
    def length(self) -> int:
        """Positions of the first input."""
        return self.lengths[0]

    def layer(self, node: Any) -> str:
        """The module that a call is made in, or the call's own name."""
        inner = [path for path, _ in module_stack(node).values() if path]
        return inner[-1] if inner else str(node.name)


class Trials:
    """The calls of a model at lengths that show what depends on the length, and how.

    `period` is the number of input samples after which strides repeat; at lengths that differ by a
    multiple of it, every size differs by as much in proportion.
    """

    def __init__(self, axis: Axis) -> None:
        self.axis = axis
        self._made: dict[tuple[int, ...], Recorded] = {}
        usual = axis.lengths[0]
        try:
            self._begin(usual)
        except UnsupportedError:
            # Code that pads up to a multiple does not where nothing is missing: the calls are those
            # of a length at which most are made.
            most = max(self._made.values(), key=lambda trial: trial.count, default=None)
            if most is None or most.count <= self._made[axis.lengths].count:
                raise
            self._begin(most.length)
        self._sizes: dict[tuple[int, ...], Mapping[Any, tuple[Shape, ...]]] = {}

    def _begin(self, usual: int) -> None:
        """Records the model at a length and at others that show what depends on it."""
        self.base, step = self._linear(self._trial(usual))
        self.others: list[tuple[Recorded, Mapping[Any, Any]]] = []
        self._add(self.base.length + step)
        self._add(self.base.length + 2 * step)
        rates = {self.rate(node) for node in self.base.nodes}
        self.period: int = lcm(*(rate.denominator for rate in rates if rate))
        self.period *= self._turns(step)
        if self.period > _LONGEST_HOP:
            raise UnsupportedError(
                f"{self.axis.name}: its strides repeat only every {self.period:,} samples; at most "
                f"{_LONGEST_HOP:,} are followed."
            )
        start = self.base.length
        some = {start + 1, start + self.period // 2, start + self.period - 1, start + 2}
        for length in sorted(some - {start} if self.period > 1 else {start + 1}):
            try:
                self._add(length)
            except ReadError:
                continue  # The model takes no input of that length.
        self._add_apart()

    def _goes_on(self, first: Recorded, step: int, maps: Sequence[Mapping[Any, Any]]) -> bool:
        """Whether sizes go on growing as they did over two steps."""
        far = 17
        try:
            by = aligned(first, self._trial(first.length + far * step))
        except AtrousError:
            return False
        return all(
            c == a + far * (b - a)
            for node in first.calls
            for one in zip(_shapes(node), _shapes(maps[1][node]), _shapes(by[node]), strict=True)
            for a, b, c in zip(*one, strict=True)
        )

    def _turns(self, step: int) -> int:
        """How many times the strides' period sizes take to repeat: code may round them farther."""
        for turns in (*range(1, 9), 10, 12, 15, 16, 20, 24, 32, 64, 128, 256):
            length = self.base.length + turns * self.period
            if turns * self.period >= step:
                return max(1, int(-(-step // self.period)))
            try:
                by = aligned(self.base, self._trial(length))
            except AtrousError:
                continue
            if all(self._grown(node, by[node], length) for node in self.base.calls):
                return int(turns)
        return max(1, int(step // self.period))

    def _grown(self, node: Any, other: Any, length: int) -> bool:
        """Whether what a node makes at a length is as long as its rate has it."""
        extra, dims = self.rate(node) * (length - self.base.length), self.timed(node)
        return all(
            b == a + (extra if d in dims else 0)
            for one, two in zip(_shapes(node), _shapes(other), strict=True)
            for d, (a, b) in enumerate(zip(one, two, strict=True))
        )

    def _linear(self, first: Recorded) -> tuple[Recorded, int]:
        """The trial to start from and a step of lengths along which all sizes are linear."""
        known = first.length
        # At multiples of it all inputs have whole numbers of positions.
        whole = lcm(*(rate.denominator for rate in self.axis.rates))
        guess = lcm(_stride_of(first), whole)
        refused: AtrousError | None = None
        for step in dict.fromkeys((*(n * guess for n in _STEPS), known)):
            if step < 1:
                continue
            try:
                trials = [first, *(self._trial(known + i * step) for i in (1, 2))]
                maps = [aligned(first, other) for other in trials]
            except UnsupportedError as error:
                refused = error
                self._check_unrolled(first)
                continue
            except ReadError as error:
                refused = refused or error
                continue
            ends = [n for n in first.nodes if n.name in first.program.outputs]
            if all(_shapes(maps[0][n]) == _shapes(maps[1][n]) for n in ends):
                continue
            lines = all(_is_line([_shapes(by.get(n)) for by in maps]) for n in first.calls)
            if lines and self._goes_on(first, step, maps):
                return first, step
        if refused is not None:
            raise refused
        raise UnsupportedError(
            f"{self.axis.name}: its sizes do not grow in proportion to the length of dimension "
            f"{self.axis.axis}, so it has no time axis there."
        )

    def _check_unrolled(self, first: Recorded) -> None:
        """Raises where the calls are as many more as there are positions: longer ones take long."""
        points = sorted((one.length - first.length, one.count) for one in self._made.values())
        more = [Fraction(count - first.count, apart) for apart, count in points if apart > 0]
        if len(more) > 2 and len(set(more)) == 1 and more[0] > 0:
            raise UnsupportedError(
                f"{self.axis.name}: it makes calls for each position ({first.count} at a length of "
                f"{first.length}), a loop over time; recurrent layers (nn.LSTM, nn.GRU, nn.RNN) "
                "are streams, loops of cells are not."
            )

    def _trial(self, length: int) -> Recorded:
        return self._at_lengths(self.axis.together(length))

    def _at_lengths(self, lengths: tuple[int, ...]) -> Recorded:
        if lengths not in self._made:
            self._made[lengths] = Recorded(self.axis, lengths)
        return self._made[lengths]

    def _add(self, length: int) -> None:
        trial = self._trial(length)
        self.others.append((trial, aligned(self.base, trial)))

    def _add_apart(self) -> None:
        """Records lengths that are not in proportion, as far as the model takes them.

        What is as long as one input is told from what is as long as another.
        """
        base = self.base.lengths
        for place in range(len(base) if len(base) > 1 else 0):
            lengths = tuple(n + (i == place) for i, n in enumerate(base))
            try:
                trial = self._at_lengths(lengths)
                self.others.append((trial, aligned(self.base, trial)))
            except AtrousError:
                continue

    @cached_property
    def all(self) -> list[Mapping[Any, Any]]:
        """For each trial the nodes that stand for those of the first."""
        return [{node: node for node in self.base.nodes}, *(by for _, by in self.others)]

    def rate(self, node: Any) -> Fraction:
        """Positions along time for each input sample; 0 where nothing depends on the length."""
        dims = self.timed(node)
        if not dims:
            return Fraction(0)
        (other, by), (dim, *_) = self.others[0], dims
        grown = _shapes(by[node])[0][dim] - _shapes(node)[0][dim]
        return Fraction(grown, other.length - self.base.length)

    def timed(self, node: Any) -> tuple[int, ...]:
        """The dimensions of what a node makes that depend on the length."""
        mine = _shapes(node)
        found: set[int] = set()
        for _, by in self.others[:2]:
            for one, other in zip(mine, _shapes(by[node]), strict=True):
                if len(one) != len(other):
                    return tuple(range(len(one)))
                found.update(d for d, (a, b) in enumerate(zip(one, other, strict=True)) if a != b)
        return tuple(sorted(found))

    def lengths(self, node: Any, dim: int) -> tuple[int, ...]:
        """The sizes of a dimension of what a node makes, in each trial."""
        return tuple(_shapes(by[node])[0][dim] for by in self.all)

    def at(self, *lengths: int) -> Mapping[Any, tuple[Shape, ...]]:
        """The shapes of all that is made at some lengths, by node: those of a recorded run.

        Lengths that differ by periods from ones that were recorded are worked out from these.
        """
        turns = max((lengths[0] - self.base.length) // self.period, 0)
        rates = self.axis.rates
        near = tuple(
            n - int(rate * turns * self.period) for n, rate in zip(lengths, rates, strict=True)
        )
        if min(near) < 1:
            near, turns = lengths, 0
        if near not in self._sizes:
            by = aligned(self.base, self._made.get(near) or Recorded(self.axis, near))
            self._sizes[near] = {node: _shapes(by[node]) for node in self.base.nodes}
        found = self._sizes[near]
        if not turns:
            return found
        grown: dict[Any, tuple[Shape, ...]] = {}
        for node, shapes in found.items():
            dims = self.timed(node)
            extra = int(self.rate(node) * turns * self.period)
            grown[node] = tuple(
                tuple(size + extra if d in dims else size for d, size in enumerate(shape))
                for shape in shapes
            )
        return grown


def _shapes(node: Any) -> tuple[Shape, ...]:
    """The shapes of the tensors that a node makes."""
    value = None if node is None else node.meta.get("val")
    if isinstance(value, torch.Tensor):
        return (tuple(value.shape),)
    if isinstance(value, list | tuple):
        return tuple(tuple(v.shape) for v in value if isinstance(v, torch.Tensor))
    return ()


def _is_line(shapes: Sequence[tuple[Shape, ...]]) -> bool:
    """Whether sizes grow by as much from the first to the second as from there to the third."""
    flat = [[size for shape in one for size in shape] for one in shapes]
    if len({len(sizes) for sizes in flat}) != 1:
        return False
    return all(c - b == b - a for a, b, c in zip(*flat, strict=True))


def aligned(base: Recorded, other: Recorded) -> Mapping[Any, Any]:
    """For each node of one trial the node of another that does the same.

    Pads and slices that the other one leaves out are stood for by what they would hand on. Raises
    `UnsupportedError` where the calls differ otherwise.
    """
    mine, theirs = [name_of(n) for n in base.calls], [name_of(n) for n in other.calls]
    found: dict[Any, Any] = {}
    named = {node.name: node for node in other.nodes if node.op != "call_function"}
    for node in base.nodes:
        if node.op != "call_function":
            found[node] = named.get(node.name, node)
    if mine == theirs:
        found.update(zip(base.calls, other.calls, strict=True))
        return found
    blocks = SequenceMatcher(None, mine, theirs, autojunk=False).get_opcodes()
    for kind, low, high, start, stop in blocks:
        if kind == "equal":
            found.update(zip(base.calls[low:high], other.calls[start:stop], strict=True))
        elif all(name in _PASSABLE for name in mine[low:high]) and all(
            name in _NOTHING for name in theirs[start:stop]
        ):
            for node in base.calls[low:high]:
                found[node] = found[node.args[0]]
        else:
            node = base.calls[min(low, len(base.calls) - 1)]
            raise UnsupportedError(
                f"{base.layer(node)}: at a length of {other.length} the model makes other calls "
                f"than at {base.length}; what depends on the length that way is no stream."
            )
    return found


def _stride_of(trial: Recorded) -> int:
    """A number of input samples after which strides repeat, by the strides of the calls alone."""
    scale: dict[Any, Fraction] = {}
    worst = 1
    first, *_ = trial.lengths
    own = {n: Fraction(first, m) for n, m in zip(trial.inputs, trial.lengths, strict=False)}
    for node in trial.nodes:
        before = [scale.get(one, Fraction(1)) for one in node.all_input_nodes]
        mine = max(before, key=lambda f: f.numerator, default=own.get(node, Fraction(1)))
        for one in before:
            worst = lcm(worst, one.numerator)
        factor = _factor(node)
        mine = mine * factor
        scale[node] = mine
        worst = lcm(worst, mine.numerator)
        if worst > _LONGEST_HOP:
            return _LONGEST_HOP
    return worst


def _factor(node: Any) -> Fraction:
    """By how much a call strides over its input, or less than 1 where it upsamples."""
    if node.op != "call_function":
        return Fraction(1)
    name = name_of(node).rpartition(".")[2]
    schema = getattr(node.target, "_schema", None)
    if schema is None or not any(word in name for word in (*_STRIDED, "upsample")):
        return Fraction(1)
    bound = dict(zip((a.name for a in schema.arguments), node.args, strict=False))
    bound.update(node.kwargs)
    if "upsample" in name:
        scales = bound.get("scale_factors") or bound.get("scales")
        number = scales[-1] if isinstance(scales, list | tuple) and scales else scales
        if isinstance(number, int | float) and number > 0:
            return 1 / Fraction(number).limit_denominator(1 << 10)
        return Fraction(1)
    steps = [bound.get(key) for key in ("stride", "step", "hop_length")]
    if "pool" in name and not bound.get("stride"):
        steps = [bound.get("kernel_size")]
    flat = [n for n in _numbers(steps) if n > 0]
    if "conv_transpose" in name or bound.get("transposed") is True:
        return Fraction(1, gcd(*flat) if flat else 1)
    return Fraction(lcm(*flat) if flat else 1)


def _numbers(value: Any) -> Iterator[int]:
    if isinstance(value, list | tuple):
        for part in value:
            yield from _numbers(part)
    elif type(value) is int:
        yield value


def time_axis(
    model: nn.Module,
    shapes: Sequence[Shape],
    axis: int | Sequence[int] | None,
    dtypes: tuple[Any, ...] = (),
    called: str = "",
) -> Axis:
    """The dimension of each input that is time: those that were named, or all that can be.

    Some can be time where the model runs with twice as much of them and its outputs change in size.
    Raises `UnsupportedError` where there are none, and where several might be.
    """
    plain = Axis(model, tuple(shapes), (0,) * len(shapes), dtypes, called)
    if axis is not None:
        return replace(plain, axes=_axes_named(plain, axis))
    known = Recorded(plain, plain.lengths)
    found = []
    for axes in islice(product(*(range(min(1, len(s) - 1), len(s)) for s in shapes)), _MOST_AXES):
        tried = replace(plain, axes=axes)
        try:
            twice = Recorded(tried, [2 * n for n in tried.lengths])
            by = aligned(known, twice)
        except AtrousError:
            continue
        ends = [node for node in known.nodes if node.name in known.program.outputs]
        if any(_shapes(by[node]) != _shapes(node) for node in ends):
            found.append(tried)
    if len(found) == 1:
        return found[0]
    if len(shapes) > 1:
        which = " or ".join(str(one.axes) for one in found) or "none"
        named = str(found[-1].axes if found else tuple(len(shape) - 1 for shape in shapes))
        raise UnsupportedError(
            f"{plain.name}: time may be the dimensions {which} of its inputs {tuple(shapes)}; say "
            f"which, such as axis={named}. An input without time is fixed: wrap the model."
        )
    if not found:
        raise UnsupportedError(
            f"{plain.name}: no dimension of its input {shapes[0]} is a time axis, along which the "
            "output grows with the input; a model that sees all at once is no stream."
        )
    dims = " or ".join(str(one.axis) for one in found)
    raise UnsupportedError(
        f"{plain.name}: time may be dimension {dims} of its input {shapes[0]}; say which, such as "
        f"axis={found[-1].axis}."
    )


def _axes_named(plain: Axis, axis: int | Sequence[int]) -> tuple[int, ...]:
    """The dimensions that were named, counted from the front: one for all, or one for each."""
    several = isinstance(axis, list | tuple)
    named: tuple[Any, ...] = tuple(axis) if several else (axis,) * len(plain.shapes)  # type: ignore[arg-type]
    if not all(isinstance(one, Integral) and not isinstance(one, bool) for one in named):
        raise ArgumentTypeError(
            f"{plain.name}: axis={axis!r} is no dimension; give its number, such as axis=2, or one "
            "for each input."
        )
    if len(named) != len(plain.shapes):
        raise UnsupportedError(
            f"{plain.name}: axis={tuple(named)} names {len(named)} dimensions for "
            f"{len(plain.shapes)} inputs; give one for each."
        )
    for dim, shape in zip(named, plain.shapes, strict=True):
        rank = len(shape)
        if not -rank <= dim < rank:
            raise UnsupportedError(
                f"{plain.name}: axis={dim} is no dimension of an input of {rank}; give one from "
                f"{-rank} to {rank - 1}."
            )
    return tuple(dim % len(shape) for dim, shape in zip(named, plain.shapes, strict=True))
