"""What a rule of a stream is, and the call that one is made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from math import floor
from typing import Any, Protocol

import torch

from atrous.errors import UnsupportedError
from atrous.registry import Registry

__all__ = [
    "MAKERS",
    "Ends",
    "Local",
    "Peer",
    "Rule",
    "Timed",
    "Value",
    "most_sure",
    "plain_form",
    "rule",
    "wide",
]

Step = Callable[..., Any]
"""Makes the new outputs of a call from the stretches of its operands."""

Peer = tuple[int, Fraction, int, int]
"""A value, how many positions stand for one of it, how many more, and whole groups of how many."""

Ends = tuple[int, ...]
"""The whole lengths of a call's operands along time, known once the stream has ended."""


@dataclass(slots=True, eq=False)
class Value:
    """What one call makes: where time is in it, and how long it is at the recorded lengths.

    `rate` is positions for each input sample; `several` says that it is a list of tensors.
    """

    index: int
    node: Any
    layer: str
    dim: int
    rate: Fraction
    lengths: tuple[int, ...]
    shape: tuple[int, ...]
    dtype: Any
    several: bool = False
    dims: tuple[int, ...] = ()


class Rule:
    """How one call goes along time, by counts of positions.

    Operands are the values at `inputs`. Where `virtual`, positions in front of an operand are
    zeros, which what is kept of it begins with. `stateful` rules get a list of what they keep
    themselves in front of the operands, `placed` ones how far
    their positions have moved on, by which those that are `counted` differ.
    """

    virtual = False
    stateful = False
    placed = False
    counted = False

    def __init__(self, inputs: Sequence[int]) -> None:
        self.inputs = tuple(inputs)

    def sure(self, sure: Sequence[int]) -> int:
        """How many outputs there are at least, whatever comes."""
        return min(sure[i] for i in self.inputs)

    def ready(self, made: Sequence[int], sure: int) -> int:
        """How many outputs, the first ones, nothing that comes can change."""
        return min(sure, *(made[i] for i in self.inputs))

    def first(self, done: int) -> tuple[int, ...]:
        """The first position of each operand that outputs from `done` on read."""
        return (done,) * len(self.inputs)

    def needs(self, outputs: range) -> tuple[range, ...]:
        """The stretch of each operand that some outputs read, ends and padding not looked at."""
        return (outputs,) * len(self.inputs)

    def settled(self, done: int) -> bool:
        """Whether all outputs from `done` on are made alike, as far as the beginning goes."""
        return done >= 0

    def step(self, outputs: range, stretches: Sequence[range], ends: Ends | None) -> Step:
        """What makes some outputs of the stretches that there are of those that they need."""
        raise NotImplementedError

    def initial(self) -> list[torch.Tensor]:
        """What a stateful rule keeps at the beginning."""
        return []


class Known(Protocol):
    """What a rule may ask about the values of a recipe."""

    running: bool
    period: int

    def value(self, node: Any) -> Value | None:
        """The value along time that a node makes; None for what no length changes."""

    def constant(self, node: Any) -> Any:
        """What a node makes that depends on no input and no length."""

    def peers(self, sizes: Sequence[int], rate: Fraction) -> tuple[Peer, ...]:
        """Values whose lengths tell `sizes`: at all lengths alike, or at least."""

    def arguments(self, node: Any) -> list[dict[str, Any] | None]:
        """The arguments of a call by name, in each trial; None where the call was left out."""

    def tables(self, node: Any) -> list[torch.Tensor] | None:
        """What a node makes in each trial, where no input reaches it."""


@dataclass(slots=True)
class Timed:
    """One call that makes a value: its arguments by name, nodes among them as they are."""

    known: Known
    value: Value
    name: str
    arguments: Mapping[str, Any]
    seen: set[str] = field(default_factory=set)

    def __getitem__(self, key: str) -> Any:
        return self.arguments.get(key)

    @property
    def node(self) -> Any:
        """The node of the call."""
        return self.value.node

    def operand(self, key: str = "") -> Value:
        """The value along time that an argument is; the first such argument by default."""
        for name, argument in self.arguments.items():
            if (not key or name == key) and isinstance(argument, torch.fx.Node):
                found = self.known.value(argument)
                if found is not None:
                    return found
        raise self.refusal(
            f"{self.name} along time is not followed where its first operand is constant"
        )

    def constant(self, key: str) -> Any:
        """An argument that must not depend on the input or its length."""
        argument = self.arguments.get(key)
        if not isinstance(argument, torch.fx.Node):
            return argument
        if self.known.value(argument) is not None:
            raise self.refusal(f"the {key} of its {self.name} depends on the input")
        return self.known.constant(argument)

    def each(self, key: str) -> list[Any]:
        """A plain argument in each trial; None where the call was left out."""
        trials = self.known.arguments(self.node)
        return [None if found is None else found.get(key) for found in trials]

    def same(self, *keys: str) -> None:
        """Raises where an argument other than these is another number in another trial."""
        trials = [found for found in self.known.arguments(self.node) if found is not None]
        for key in self.arguments:
            if key in keys:
                continue
            held = [_numbers_in(found.get(key)) for found in trials]
            if any(one != held[0] for one in held):
                raise self.refusal(
                    f"the {key} of its {self.name} depends on how long the input is, which is "
                    "known only at its end"
                )

    def refusal(self, reason: str) -> UnsupportedError:
        """Why this call is no step of a stream, as an error that names its layer."""
        error = UnsupportedError(f"{reason}.")
        error.subject = self.value.layer
        return error


def _numbers_in(value: Any) -> Any:
    """An argument without the nodes in it."""
    if isinstance(value, torch.fx.Node):
        return None
    if isinstance(value, list | tuple):
        return tuple(_numbers_in(part) for part in value)
    return value


class Local(Rule):
    """Each output position reads the operands at its own: they wait for the slowest."""

    def __init__(self, inputs: Sequence[int], call: Step) -> None:
        super().__init__(inputs)
        self.call = call

    def step(self, outputs: range, stretches: Sequence[range], ends: Ends | None) -> Step:  # noqa: ARG002
        """The call itself."""
        return self.call


Make = Callable[[Timed], Rule]
MAKERS = Registry[str, Make]("rule of streams")


def rule(names: str) -> Callable[[Make], Make]:
    """Register what makes the rule of these calls, named as ATen has them."""
    return MAKERS.under(*names.split())


def plain_form(target: Any) -> Any:
    """The call that makes a new tensor instead of writing into its first operand."""
    packet = getattr(target, "overloadpacket", None)
    if packet is None or not target._schema.is_mutable:
        return target
    other = getattr(torch.ops.aten, packet.__name__.rstrip("_"), None)
    return getattr(other, target._overloadname, target) if other is not None else target


def wide(value: Any, axes: int) -> list[int]:
    """One number for each axis, of one for all or of as many."""
    if not isinstance(value, list | tuple):
        return [int(value)] * axes
    found = [int(v) for v in value]
    return found * axes if len(found) == 1 else found


def most_sure(peers: Sequence[Peer], sure: Sequence[int]) -> int:
    """How long something is at least, by the value that is known best."""
    return max(
        0, *(floor(sure[i] * scale / group) * group + apart for i, scale, apart, group in peers)
    )
