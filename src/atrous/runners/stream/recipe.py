"""A model's calls as values along time, each with the rule by which it goes on."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from functools import cached_property
from math import floor
from typing import Any

import torch

from atrous.errors import UnsupportedError
from atrous.frameworks.torch import name_of
from atrous.runners.stream.rules.base import MAKERS, Peer, Rule, Timed, Value, plain_form
from atrous.runners.stream.rules.local import local_rule
from atrous.runners.stream.rules.sources import source_rule
from atrous.runners.stream.trials import Recorded, Trials
from atrous.shown import how_many

__all__ = ["Recipe"]

_BY_SHAPE = frozenset({"new_zeros", "new_ones", "new_full", "new_empty"})
_HIDDEN = frozenset({"aten.lstm", "aten.gru", "aten.rnn_tanh", "aten.rnn_relu"})
_MOST_PEERS = 4
_LARGEST_GROUP = 1 << 12
_INPUT = Rule(())


class Recipe:
    """The values of a model that go along time, in their order, and the rule of each.

    The first are the inputs. Raises `UnsupportedError` where a call is no step of a stream, naming
    its layer.
    """

    def __init__(self, trials: Trials, *, running: bool = False) -> None:
        self.trials = trials
        self.running = running
        self.period = trials.period
        self.values: list[Value] = []
        self.rules: list[Rule] = []
        self._by_node: dict[Any, Value] = {}
        self._constants: dict[Any, Any] = {}
        self._arguments: dict[Any, list[dict[str, Any] | None]] = {}
        self._free = _unreached(trials.base)
        base = trials.base
        given = len(trials.axis.shapes)
        if len(base.inputs) != given:
            raise UnsupportedError(
                f"{trials.axis.name}: {how_many(given, 'input')} given, and this model takes "
                f"{len(base.inputs)}; give each, or wrap it so that the others are fixed."
            )
        unread = [node.name for node in base.inputs if node not in base.nodes]
        if unread:
            which = f" {unread[0]}" if len(base.inputs) > 1 else ""
            raise UnsupportedError(
                f"{trials.axis.name}: its outputs do not depend on its input{which}."
            )
        for node in base.nodes:
            if node.name in base.program.inputs:
                self._add(node, _INPUT)
            elif node.op == "call_function":
                self._follow_free(node) if node in self._free else self._follow(node)
        ends = {node.name: node for node in base.nodes}
        self.inputs = self.values[: len(base.inputs)]
        self.outputs = [self._output(ends[name]) for name in base.program.outputs]

    def _output(self, node: Any) -> Value:
        found = self._by_node.get(node)
        if found is None or found.several:
            raise UnsupportedError(
                f"{self.trials.axis.name}: one of its outputs does not grow with the input, so it "
                "is no stream; wrap the model so that only those along time come out."
            )
        return found

    def _follow_free(self, node: Any) -> None:
        """A call that no input reaches; where it is no stream, its readers ask what is in it."""
        if len(self.trials.timed(node)) > 1:
            return
        try:
            self._follow(node)
        except UnsupportedError:
            return

    def _follow(self, node: Any) -> None:
        reached = [one for one in node.all_input_nodes if one in self._by_node]
        dims = self.trials.timed(node)
        name = name_of(node).rpartition(".")[2]
        if not reached and not dims:
            return
        if reached and not dims:
            if name in _BY_SHAPE or self._is_hidden(node):
                return
            if self._made_global(node, name, reached[0]):
                return
        value = self._valued(node, dims)
        call = Timed(self, value, name.removesuffix("_"), _by_schema(node))
        if not reached:
            self._add(node, source_rule(call), value)
            return
        if len(dims) > 1 and name not in MAKERS:
            raise call.refusal(
                f"{name} relates every position of time to every other (attention over all of "
                "time), so it is known only at the end; scaled_dot_product_attention with a mask "
                "of a bounded window is a stream"
            )
        make = MAKERS.get(name) or MAKERS.get(name.removesuffix("_"))
        self._add(node, make(call) if make is not None else local_rule(call), value)

    def _is_hidden(self, node: Any) -> bool:
        """The last state of a recurrent layer, which nobody may read."""
        if name_of(node) != "getitem" or name_of(node.args[0]) not in _HIDDEN:
            return False
        if node.users:
            call = Timed(self, self._by_node[node.args[0]], "getitem", {})
            raise call.refusal(
                "what is read of it is its last state, which is known only at the end"
            )
        return True

    def _made_global(self, node: Any, name: str, source: Value | Any) -> bool:
        """Whether a call that ends time has a running form; raises where it has not."""
        value = self._by_node[source]
        kept = Value(-1, node, self.trials.base.layer(node), 0, Fraction(0), (), (), None)
        call = Timed(self, kept, name, _by_schema(node))
        raise call.refusal(
            f"{name} takes all positions of time at once (of {value.layer}), so it is known only "
            "at the end"
        )

    def _valued(self, node: Any, dims: tuple[int, ...]) -> Value:
        meta = node.meta.get("val")
        several = isinstance(meta, list | tuple)
        one = next(v for v in meta if isinstance(v, torch.Tensor)) if several else meta
        dim = dims[0] if dims else 0
        return Value(
            len(self.values),
            node,
            self.trials.base.layer(node),
            dim,
            self.trials.rate(node),
            self.trials.lengths(node, dim),
            tuple(one.shape),
            one.dtype,
            several,
            dims,
        )

    def _add(self, node: Any, made: Rule, value: Value | None = None) -> None:
        value = self._valued(node, self.trials.timed(node)) if value is None else value
        self.values.append(value)
        self.rules.append(made)
        self._by_node[node] = value

    # What rules ask.

    def value(self, node: Any) -> Value | None:
        """The value along time that a node makes; None for what no length changes."""
        return self._by_node.get(node)

    def call(self, value: Value) -> Timed:
        """The call that makes a value."""
        name = name_of(value.node).rpartition(".")[2].removesuffix("_")
        return Timed(self, value, name, _by_schema(value.node))

    def constant(self, node: Any) -> Any:
        """What a node makes that depends on no input and no length."""
        if node in self._constants:
            return self._constants[node]
        program = self.trials.base.program
        if node.op == "placeholder":
            made = program.stored[node.name][1].detach()
            self._check_same(node, made)
        elif node.op == "get_attr":
            made = getattr(program.owner, node.target)
        elif name_of(node).rpartition(".")[2] in _BY_SHAPE:
            made = self._shaped(node)
        else:
            args = torch.fx.map_arg(node.args, self.constant)
            kwargs = torch.fx.map_arg(node.kwargs, self.constant)
            call = Timed(
                self, self._standing(node), name_of(node).rpartition(".")[2], _by_schema(node)
            )
            call.same()
            with torch.no_grad():
                made = node.target(*args, **kwargs)
        self._constants[node] = made
        return made

    def _standing(self, node: Any) -> Value:
        return Value(-1, node, self.trials.base.layer(node), 0, Fraction(0), (), (), None)

    def _shaped(self, node: Any) -> Any:
        """A tensor made after another one's type alone."""
        source, size, *rest = node.args
        like = torch.empty(0, dtype=source.meta["val"].dtype, device=source.meta["val"].device)
        return node.target(like, size, *rest, **node.kwargs)

    def _check_same(self, node: Any, made: torch.Tensor) -> None:
        """Numbers that the code makes of the length are not known before the end."""
        program = self.trials.base.program
        name = program.stored[node.name][0]
        if name in program.state:
            return
        for trial, _ in self.trials.others:
            held = trial.program.stored.get(node.name)
            if held is None or held[1].shape != made.shape or not torch.equal(held[1], made):
                users = list(node.users)
                layer = self.trials.base.layer(users[0]) if users else self.trials.axis.name
                error = UnsupportedError(
                    "it uses numbers that the code works out of the input's length, which is known "
                    "only at the end."
                )
                error.subject = layer
                raise error

    def tables(self, node: Any) -> list[torch.Tensor] | None:
        """What a node makes in each trial, where no input reaches it; None where one does."""
        if node not in self._free:
            return None
        trials = [self.trials.base, *(trial for trial, _ in self.trials.others)]
        return [
            _evaluated(trial, by[node]) for trial, by in zip(trials, self.trials.all, strict=True)
        ]

    def peers(self, sizes: Sequence[int], rate: Fraction) -> tuple[Peer, ...]:
        """Values whose lengths tell `sizes`: at all lengths alike, or at least."""
        found: list[Peer] = []
        for value in self.values:
            if value.rate != rate or value.several:
                continue
            apart = {a - b for a, b in zip(sizes, value.lengths, strict=True)}
            if len(apart) == 1:
                found.append((value.index, Fraction(1), apart.pop(), 1))
        if not found:
            return (self._in_groups(sizes, rate),)
        # The input is there first; what is nearest is known best.
        return tuple(dict.fromkeys((*found[:1], *found[-_MOST_PEERS:])))

    def _in_groups(self, sizes: Sequence[int], rate: Fraction) -> Peer:
        """Sizes by those of a value, rounded down to whole groups, or what they are at least."""
        own, each = self.values[0], rate * self.period
        near = [value for value in self.values if value.rate == rate and not value.several]
        groups = range(2, min(int(each), _LARGEST_GROUP) + 1) if each.denominator == 1 else ()
        whole = [group for group in groups if each % group == 0]
        for value, scale in [*((one, Fraction(1)) for one in near[-1:-5:-1]), (own, rate)]:
            for group in whole if len({n % self.period for n in own.lengths}) > 1 else ():
                full = [floor(scale * n / group) * group for n in value.lengths]
                apart = {a - b for a, b in zip(sizes, full, strict=True)}
                if len(apart) == 1:
                    return (value.index, scale, apart.pop(), group)
        long = zip(sizes, own.lengths, strict=True)
        return (0, rate, min(floor(a - rate * b) for a, b in long), 1)

    def arguments(self, node: Any) -> list[dict[str, Any] | None]:
        """The arguments of a call by name, in each trial; None where the call was left out."""
        if node not in self._arguments:
            # What stands for a call that was left out is another one.
            found = [by[node] for by in self.trials.all]
            same = [name_of(one) == name_of(node) for one in found]
            self._arguments[node] = [
                _by_schema(one) if is_same else None
                for one, is_same in zip(found, same, strict=True)
            ]
        return self._arguments[node]

    @cached_property
    def users(self) -> list[list[int]]:
        """For each value the values whose rules read it."""
        found: list[list[int]] = [[] for _ in self.values]
        for index, one in enumerate(self.rules):
            for source in dict.fromkeys(one.inputs):
                found[source].append(index)
        return found


def _unreached(trial: Recorded) -> set[Any]:
    """The calls that no input reaches."""
    reached: set[Any] = set()
    for node in trial.nodes:
        if node.name in trial.program.inputs or reached.intersection(node.all_input_nodes):
            reached.add(node)
    return {node for node in trial.nodes if node not in reached}


def _evaluated(trial: Recorded, node: Any) -> torch.Tensor:
    """What a call makes that no input reaches, at the length of a trial."""
    known: dict[Any, Any] = {}

    def made(one: Any) -> Any:
        if one not in known:
            if one.op == "placeholder":
                known[one] = trial.program.stored[one.name][1].detach()
            elif one.op == "get_attr":
                known[one] = getattr(trial.program.owner, one.target)
            else:
                args, kwargs = torch.fx.map_arg((one.args, one.kwargs), made)
                known[one] = plain_form(one.target)(*args, **kwargs)
        return known[one]

    with torch.no_grad():
        found: torch.Tensor = made(node)
    return found


def _by_schema(node: Any) -> dict[str, Any]:
    """The arguments of a call by their names in its schema."""
    schema = getattr(node.target, "_schema", None)
    if schema is None:
        return {str(i): value for i, value in enumerate(node.args)}
    names = [a.name for a in schema.arguments]
    found: dict[str, Any] = {
        a.name: a.default_value if a.has_default_value() else None for a in schema.arguments
    }
    found.update(zip(names, node.args, strict=False))
    found.update(node.kwargs)
    return found
