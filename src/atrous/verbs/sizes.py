"""`sizes`: which input sizes a network takes, and what it makes of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Any

from atrous.analysis.periods import axis_sizes
from atrous.analysis.sizes import AxisSizes, Sizes
from atrous.analysis.tied import tied
from atrous.analysis.trials import Trial, layers_of, period_of, symmetric, trial_of
from atrous.certification.resized import resized_or_refused
from atrous.errors import ArgumentError, AtrousError, ReadError
from atrous.network import Network
from atrous.network.shapes import Shape, Shapes, rounded
from atrous.progress import step
from atrous.readers.given import shapes_of
from atrous.readers.kind import kind_of
from atrous.readers.near import without_offers
from atrous.readers.source import read_unrun, sized

__all__ = ["sizes"]

_BESIDE = 64
"""How far around a size that does not run one that does is looked for."""

_MOST_READ = 100_000
"""How many sizes may be asked to be read one by one."""

_MOST_NUMBERS = 1 << 21
"""How many numbers the inputs of the largest size have that is tried; a run may need them."""

Reader = Callable[[Shapes], Network]


def sizes(
    source: Any, input: Any = None, *, values: Mapping[str, Any] | None = None, enough: int = 0
) -> Sizes:
    """Which input sizes run, drop no position, keep every join aligned, and keep their size.

    `source` and `input` are those of `inspect`; `input` need not run: `pad` and `crop` then say
    what it lacks. `values` are those of `read`. Lengths are read one by one, at least `enough` of
    them, until they repeat; from there on the answer is for every size.

    Raises `ReadError` for what is no source, or where nothing near `input` runs, `ArgumentError`
    for an `enough` that is no whole number from 0 to 100,000.

    >>> import atrous
    >>> found = atrous.sizes("stack:k3 maxk2s2valid maxk2s2valid maxk2s2valid", (1, 3, 100, 100))
    >>> found.period, found.lossless(100), found.nearest(100, "lossless")
    (8, False, (104, 104))
    """
    if type(enough) is not int or not 0 <= enough <= _MOST_READ:
        raise ArgumentError(
            f"enough is {enough!r}; sizes are read one by one, so give 0 to {_MOST_READ:,}: what "
            "repeats holds for every size."
        )
    source = _settled(source, input)
    name, start, reader = _reader(source, input, values)
    with without_offers():
        found = _known(reader, start)
    if found is None:
        reader(start)  # says why
        raise ReadError(f"no size near {_text(start)} runs.")
    shapes, network, refusal = found
    reader = _short_cut(source, reader, shapes, network)
    axes = tuple(network.inputs[0].grid) or network.axes
    if not axes:
        raise ReadError(f"{name}: its input has no positions, so it has no sizes.")
    given = _lengths(start, network, axes)
    with without_offers():
        along = _all_axes(reader, shapes, network, axes, given, enough)

    def joint(lengths: Shape) -> tuple[Trial, ...]:
        by_axis = dict(zip(axes, lengths, strict=True))
        step(f"reading size {'x'.join(map(str, lengths))}")
        with without_offers():
            made = _made(reader, _resized(shapes, network, by_axis))
        if isinstance(made, str):
            return tuple(Trial(n, made) for n in lengths)
        return tuple(trial_of(made, [axis]) for axis in axes)

    base = tuple(_known_length(network, [axis]) for axis in axes)
    return Sizes(
        network.name or name,
        given,
        axes,
        along,
        refusal,
        tied=tied(axes, along, base, joint),
        joint=joint,
    )


def _settled(source: Any, input: Any) -> Any:
    """The source; of a module with lazy layers one that has the sizes of `input`, if it runs."""
    try:
        return sized(source, input)
    except ReadError:
        return source


def _short_cut(source: Any, reader: Reader, shapes: Shapes, network: Network) -> Reader:
    """A reader that follows lengths through the network where the code looks at none.

    A module whose code asks for no size makes the same calls at every size until one refuses, so
    that every other network follows from this one. That is held against a reading at some sizes.
    """
    if network.ran or not _looks_at_nothing(source, shapes):
        return reader

    def followed(asked: Shapes) -> Network:
        found = resized_or_refused(network, asked)
        if isinstance(found, str):
            raise ReadError(f"{network.name}: {found}")
        return reader(asked) if found is None else found

    axes = tuple(network.inputs[0].grid)
    for axis in axes:
        known = _known_length(network, [axis])
        for n in sorted({1, 2, 3, known // 3, known // 2, known - 1, known + 1, 2 * known} - {0}):
            asked = _resized(shapes, network, {axis: n})
            one, other = _made(followed, asked), _made(reader, asked)
            if isinstance(one, str) or isinstance(other, str):
                if type(one) is not type(other):
                    return reader
            elif trial_of(one, [axis]) != trial_of(other, [axis]):
                return reader
    return followed


def _looks_at_nothing(source: Any, shapes: Shapes) -> bool:
    """Whether a source is a module whose code asks for no size."""
    if kind_of(source) != "module":
        return False
    from atrous.frameworks.unasked import asks_no_size
    from atrous.readers.torch.inputs import is_sized

    # A lazy layer would take the sizes of this run for good.
    return is_sized(source) and asks_no_size(source, shapes)


def _all_axes(
    reader: Reader,
    shapes: Shapes,
    network: Network,
    axes: tuple[str, ...],
    given: Shape,
    enough: int,
) -> tuple[AxisSizes, ...]:
    """The sizes along each axis; axes that are alike are varied together."""
    if len(set(given)) == 1 and symmetric(network, axes):
        return (_tried(reader, shapes, network, axes, enough),) * len(axes)
    return tuple(_tried(reader, shapes, network, (axis,), enough) for axis in axes)


def _reader(
    source: Any, input: Any, values: Mapping[str, Any] | None
) -> tuple[str, Shapes, Reader]:
    """What the source is called, the shapes to begin with, and how it is read at others."""
    if isinstance(source, Network):
        raise ReadError("a Network has the sizes that it was read at; give its source.")
    names: tuple[str, ...] = ()
    if input is None or isinstance(input, Mapping):
        network = read_unrun(source, input, values=values, structure_only=True)
        start = tuple(tensor.shape for tensor in network.inputs)
        names = tuple(tensor.name for tensor in network.inputs)
    else:
        start = shapes_of(input)

    def reader(shapes: Shapes) -> Network:
        if not shapes:
            return read_unrun(source, None, values=values, structure_only=True)
        asked: Any = dict(zip(names, shapes, strict=True)) if values else shapes
        if len(shapes) == 1 and not values:
            asked = shapes[0]
        return read_unrun(source, asked, values=values, structure_only=True)

    name = source if isinstance(source, str) else type(source).__name__
    return name, start, reader


def _known(reader: Reader, start: Shapes) -> tuple[Shapes, Network, str] | None:
    """A size that runs: the given one, one near it, or the source's own.

    With it the network there, and why the given one does not run.
    """
    refusal = ""
    for shapes in (start, *_around(start), ()):  # the last is its own size, where it has one
        try:
            network = reader(shapes)
        except AtrousError as error:
            refusal = refusal or str(error).splitlines()[0]
            continue
        own = tuple(tensor.shape for tensor in network.inputs)
        if [len(shape) for shape in own] == [len(shape) for shape in start]:
            return own, network, refusal
    return None


def _around(start: Shapes) -> list[Shapes]:
    """Sizes near the given ones: rounded up by powers of two, then one by one."""
    found: dict[Shapes, None] = {}
    for power in range(1, 8):
        found[tuple(rounded(shape, 1 << power) or shape for shape in start)] = None
    for apart in range(1, _BESIDE):
        for sign in (1, -1):
            found[_moved(start, sign * apart)] = None
    return [shapes for shapes in found if shapes != start]


def _moved(start: Shapes, apart: int) -> Shapes:
    return tuple((*s[:2], *(max(n + apart, 1) for n in s[2:])) for s in start)


def _text(shapes: Shapes) -> str:
    return ", ".join("x".join(map(str, shape)) for shape in shapes)


def _lengths(start: Shapes, network: Network, axes: Sequence[str]) -> Shape:
    """The length along each axis of what was asked about."""
    found = []
    for axis in axes:
        for tensor, shape in zip(network.inputs, start, strict=True):
            places = _places(network, tensor.name, axis)
            if places:
                found.append(shape[places[0]])
                break
    return tuple(found)


def _places(network: Network, name: str, axis: str) -> list[int]:
    """The dimensions of an input that are the whole axis."""
    layout = network.tensor(name).layout
    return [i for i, dim in enumerate(layout) if len(dim) == 1 and dim[0].axis == axis]


def _tried(
    reader: Reader,
    shapes: Shapes,
    network: Network,
    axes: tuple[str, ...],
    enough: int,
) -> AxisSizes:
    """What each length along these axes gives, all of them at once."""
    known = _known_length(network, axes)

    def attempt(n: int) -> tuple[Trial, Any]:
        step(f"reading size {n} along {', '.join(axes)}")
        made = _made(reader, _resized(shapes, network, dict.fromkeys(axes, n)))
        if isinstance(made, str):
            return Trial(n, made), None
        return trial_of(made, axes), layers_of(made, axes)

    return axis_sizes(
        axes,
        attempt,
        known=known,
        period=period_of(network, axes),
        enough=enough,
        farthest=_farthest(shapes, network, axes, known),
    )


def _known_length(network: Network, axes: Sequence[str]) -> int:
    return next(t.grid[axis] for t in network.inputs for axis in axes if axis in t.grid)


def _made(reader: Reader, shapes: Shapes) -> Network | str:
    """The network at these shapes, or why there is none."""
    try:
        made = reader(shapes)
    except AtrousError as error:
        return str(error).splitlines()[0]
    return next((note for note in made.notes if "the file says" in note), made)


def _farthest(shapes: Shapes, network: Network, axes: tuple[str, ...], known: int) -> int:
    """The largest length whose inputs have few enough numbers; 0 where code runs on numbers."""
    if network.ran:
        return 0

    def numbers(length: int) -> int:
        return sum(map(prod, _resized(shapes, network, dict.fromkeys(axes, length))))

    found = known
    while numbers(2 * found) <= _MOST_NUMBERS:
        found *= 2
    return found


def _resized(shapes: Shapes, network: Network, lengths: Mapping[str, int]) -> Shapes:
    """The shapes with other lengths along these axes."""
    found = []
    for tensor, shape in zip(network.inputs, shapes, strict=True):
        sizes = list(shape)
        for axis, length in lengths.items():
            for place in _places(network, tensor.name, axis):
                sizes[place] = length
        found.append(tuple(sizes))
    return tuple(found)
