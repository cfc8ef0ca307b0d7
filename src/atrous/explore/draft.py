"""What is edited in the page: a stack and its input, as a value that is written into a URL."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from math import prod
from urllib.parse import parse_qs, urlencode

from atrous.analysis import Inspection, inspect_network
from atrous.draw.dots import Dots, dots_of
from atrous.errors import AtrousError, ReadError, UnsupportedError
from atrous.network import Network
from atrous.network.builder import AXES
from atrous.network.stack import StackLayer, parse_stack, stack_network, stack_parts

__all__ = ["KINDS", "PADDINGS", "BranchesError", "Draft", "layer_values", "shape_of"]

KINDS = {
    "conv": "convolution",
    "dw": "depthwise convolution",
    "max": "max pooling",
    "avg": "average pooling",
    "tconv": "transposed convolution",
    "up": "nearest upsampling",
}
PADDINGS = ("same", "valid", "causal")

MOST_LAYERS = 400
"""More layers than anybody edits by hand."""
MOST_POSITIONS = 1 << 20
"""Of the input: the footprint has a number for each."""
MOST_TEXT = 20_000
_DRAWN = 33
"""The input of the dot picture has at most so many positions, unless the stack needs more."""
_MOST_DOTS = 160
_LONGEST = 1000


class BranchesError(UnsupportedError):
    """The stack has branches: it is shown as a report, and not edited."""


@dataclass(frozen=True, slots=True)
class Draft:
    """A stack in the notation of `atrous.read`, and the shape of its input.

    Every edit makes another draft, and raises what the library raises for a stack that cannot be.

    >>> draft = Draft.of("k3d2 k3d2", (1, 16, 64, 64))
    >>> draft.with_text(0, "dilation", "1").text, draft.moved(0, 1).text
    ('k3 k3d2', 'k3d2 k3d2')
    >>> Draft.from_query(draft.query) == draft
    True
    """

    layers: tuple[StackLayer, ...]
    shape: tuple[int, ...]
    text: str = field(init=False, compare=False)
    """The stack in the notation."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", " ".join(map(str, self.layers)))

    @classmethod
    def of(cls, text: str, shape: Sequence[int]) -> Draft:
        """A draft from the notation. Raises what `stack_network` raises."""
        return _kept_draft(text, tuple(shape))

    @classmethod
    def _checked(cls, text: str, shape: tuple[int, ...]) -> Draft:
        if len(text) > MOST_TEXT:
            raise ReadError(f"the stack is longer than {MOST_TEXT:,} letters.")
        try:
            layers = parse_stack(text)
        except ReadError:
            stack_parts(text)  # one that cannot be read at all says so
            raise BranchesError(
                "a stack with branches or `global` is not edited here; look at it as a report, by "
                'the button or by `atrous inspect "stack:..."`.'
            ) from None
        if len(layers) > MOST_LAYERS:
            raise ReadError(f"the stack has {len(layers)} layers; this page takes {MOST_LAYERS}.")
        if len(shape) - 2 not in AXES or min(shape) < 1:
            raise ReadError("the input is batch, channels and 1 to 3 sizes, such as 1,3,64,64.")
        if prod(shape[2:]) > MOST_POSITIONS or prod(shape) > 64 * MOST_POSITIONS:
            raise ReadError(
                f"the input has more than {MOST_POSITIONS:,} positions, or many channels of them; "
                "take a smaller one here, and `atrous inspect` for the large one."
            )
        draft = cls(layers, shape)
        draft.network()
        return draft

    @classmethod
    def from_query(cls, query: str) -> Draft:
        """A draft from the query of a URL. Raises `ReadError` and what `of` raises."""
        try:
            found = parse_qs(query, max_num_fields=20)
        except ValueError:
            raise ReadError("the link has more than 20 parts; stack and input are two.") from None
        stack, shape = found.get("stack"), found.get("input")
        if not stack or not shape:
            raise ReadError("the link has no stack and input; it ends in ?stack=...&input=...")
        return cls.of(stack[-1], shape_of(shape[-1]))

    @property
    def shape_text(self) -> str:
        """The shape as it is typed."""
        return ",".join(map(str, self.shape))

    @property
    def query(self) -> str:
        """What the draft is in a URL."""
        return urlencode({"stack": self.text, "input": self.shape_text})

    def network(self) -> Network:
        """The network."""
        return _network(self.text, self.shape)

    def report(self) -> Inspection:
        """Its report."""
        return inspect_network(self.network())

    def replaced(self, layers: Sequence[StackLayer]) -> Draft:
        """The same input with other layers, checked, and named by their places."""
        return Draft.of(" ".join(map(str, layers)), self.shape)

    def with_text(self, place: int, part: str, text: str) -> Draft:
        """One part of one layer set to what was typed: numbers, one an axis, or a padding."""
        layer = self.layers[place]
        if part == "kind":
            return self.replaced(_with(self.layers, place, _as_kind(layer, text)))
        if part == "padding":
            if text in PADDINGS:
                return self.replaced(_with(self.layers, place, replace(layer, padding=text)))  # type: ignore[arg-type]
            numbers = _numbers(text, "padding")
            if len(numbers) > 2:
                raise ReadError(
                    f"padding {text[:20]!r} is one number, or one for each end: 1 or 2,0."
                )
            low, high = numbers if len(numbers) == 2 else (numbers[0], numbers[-1])
            return self.replaced(_with(self.layers, place, replace(layer, padding=(low, high))))
        if part == "channels":
            given = _numbers(text, part) if text.strip() else ()
            if len(given) > 1:
                raise ReadError(f"channels {text[:20]!r} is one whole number, or nothing.")
            channels = given[0] if given else None
            return self.replaced(_with(self.layers, place, replace(layer, channels=channels)))
        changed = replace(layer, **{part: _numbers(text, part)})  # type: ignore[arg-type]
        return self.replaced(_with(self.layers, place, changed))

    def added(self, place: int) -> Draft:
        """Another layer behind `place`: a convolution of kernel 3."""
        new = parse_stack("k3")[0]
        return self.replaced((*self.layers[: place + 1], new, *self.layers[place + 1 :]))

    def removed(self, place: int) -> Draft:
        """Without one layer. Raises `ReadError` for the last one that there is."""
        if len(self.layers) == 1:
            raise ReadError("a stack has at least one layer.")
        return self.replaced((*self.layers[:place], *self.layers[place + 1 :]))

    def moved(self, place: int, to: int) -> Draft:
        """With one layer elsewhere."""
        rest = [*self.layers[:place], *self.layers[place + 1 :]]
        rest.insert(min(max(to, 0), len(rest)), self.layers[place])
        return self.replaced(rest)

    def dots(self) -> Dots:
        """The dot picture along the last axis, on an input short enough to tell positions apart."""
        axis = AXES[len(self.shape) - 2][-1]
        layers = [_along(layer, len(self.shape) - 3) for layer in self.layers]
        text = " ".join(map(str, layers))
        length = min(self.shape[-1], _DRAWN)
        while True:
            try:
                network = stack_network(text, (1, self.shape[1], length))
            except AtrousError:
                if length >= min(self.shape[-1], _MOST_DOTS):
                    raise UnsupportedError(
                        f"the stack needs more than {_MOST_DOTS} positions along {axis}, too many "
                        "for dots."
                    ) from None
                length = min(2 * length, self.shape[-1], _MOST_DOTS)
                continue
            longest = max(node.output.grid["t"] for node in network.nodes)
            if longest > _LONGEST:
                raise UnsupportedError(
                    f"a map of {longest:,} positions is too long for dots; at most {_LONGEST:,} "
                    "are drawn."
                )
            drawn = dots_of(network, "t")
            return Dots(axis, drawn.rows)


@lru_cache(64)
def _kept_draft(text: str, shape: tuple[int, ...]) -> Draft:
    """What is edited was most often made by the edit before."""
    return Draft._checked(text, shape)


@lru_cache(16)
def _network(text: str, shape: tuple[int, ...]) -> Network:
    """Asked for by the check of an edit, and then by its report."""
    return stack_network(text, shape)


def shape_of(text: str) -> tuple[int, ...]:
    """A shape as it is typed. Raises `ReadError`.

    >>> shape_of("1, 3, 64, 64")
    (1, 3, 64, 64)
    """
    try:
        shape = tuple(int(part) for part in text.replace("x", ",").split(","))
    except ValueError:
        shape = ()
    if not 3 <= len(shape) <= 5 or not all(0 < size <= 1 << 24 for size in shape):
        raise ReadError(
            f"{text[:40]!r} is no shape; give batch, channels and 1 to 3 sizes, such as 1,3,64,64."
        )
    return shape


def layer_values(layer: StackLayer) -> dict[str, str]:
    """Each part of a layer as it is typed; channels that are the input's are left empty.

    >>> layer_values(Draft.of("k(1,7)d2p1", (1, 8, 64, 64)).layers[0])["padding"]
    '1'
    """
    padding = layer.padding
    ends = (padding,) if isinstance(padding, str) else padding[: 1 + (padding[0] != padding[1])]
    return {
        "kind": layer.kind,
        "kernel": ",".join(map(str, layer.kernel)),
        "stride": ",".join(map(str, layer.stride)),
        "dilation": ",".join(map(str, layer.dilation)),
        "padding": ",".join(map(str, ends)),
        "channels": "" if layer.channels is None else str(layer.channels),
    }


def _numbers(text: str, part: str) -> tuple[int, ...]:
    try:
        numbers = tuple(int(word) for word in text.replace("(", "").replace(")", "").split(","))
    except ValueError:
        numbers = ()
    if not 0 < len(numbers) <= 3 or any(abs(number) > 1 << 16 for number in numbers):
        raise ReadError(
            f"{part} {text[:20]!r} is no whole number, nor one for each axis: 3 or 1,7."
        )
    return numbers


def _with(layers: Sequence[StackLayer], place: int, layer: StackLayer) -> list[StackLayer]:
    return [*layers[:place], layer, *layers[place + 1 :]]


def _as_kind(layer: StackLayer, kind: str) -> StackLayer:
    """The layer as another kind, without what that kind does not take."""
    changed = replace(layer, kind=kind)  # type: ignore[arg-type]
    if kind == "up":
        stride = layer.stride if layer.stride != (1,) else (2,)
        return replace(
            changed, stride=stride, kernel=(1,), dilation=(1,), padding="same", channels=None
        )
    if layer.kind == "up":
        changed = replace(changed, kernel=(3,))
    return replace(changed, channels=None) if kind in ("max", "avg") else changed


def _along(layer: StackLayer, axis: int) -> StackLayer:
    """The layer as it is along one axis."""

    def one(values: tuple[int, ...]) -> tuple[int, ...]:
        return (values[axis],) if len(values) > 1 else values

    return replace(
        layer, kernel=one(layer.kernel), stride=one(layer.stride), dilation=one(layer.dilation)
    )
