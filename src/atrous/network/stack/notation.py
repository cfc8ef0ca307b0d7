"""The grammar of the stack notation: layers in a row, branches in brackets, repeats."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal, NoReturn

from atrous.errors import ReadError
from atrous.network.stack.records import StackJoin, StackLayer, StackPart
from atrous.network.stack.words import HELP, LayerWord, brief, refuse_at

__all__ = ["parse_stack", "stack_parts"]

# What comes from a link or a form is not trusted: nothing may grow with an absurd text.
_MOST_LAYERS = 1 << 12
_DEEPEST = 32

# A plus is a sign between a letter and its number, and joins branches elsewhere.
_TOKEN = re.compile(r"[][|*]|(?:\([^()]*\)|(?<=[ksdpx])\+(?=\d)|[^][|*+\s])+|\+", re.ASCII)

How = Literal["concat", "add"]


@lru_cache(64)
def stack_parts(text: str) -> tuple[StackPart, ...]:
    """The layers and joins of branches that a text in the stack notation names, in order.

    Layers are separated by spaces. Each is a kind (`conv`, `dw` for depthwise, `max`, `avg`,
    `tconv` for transposed, `up` for nearest upsampling, `global` for the average over all
    positions; `conv` where left out) followed, in any order, by

    - `k3` kernel, which only `up` and `global` go without; `s2` stride, `d2` dilation, both 1 where
      left out, for pools too; `k(1,7)` gives one value for each spatial axis;
    - `same` (the default), `valid`, `causal` or `p(LO,HI)`, the padding of each axis; `p1` is
      `p(1,1)`, and negative numbers crop;
    - `x64` output channels; left out, the input's number is kept. Pools, `up` and `global` take
      none.

    `up` takes nothing but its factor, as a stride: `ups2`. `same` pads by extent - 1 in all,
    whatever the stride, as `atrous.conv` does (TensorFlow's SAME is its `same_upper`);
    a transposed layer under `same` or `causal` makes exactly stride times as many outputs.

    `[a | b]` runs `a` and `b` on one map and concatenates their channels, `[a + b]` adds them. Each
    branch is a stack; one of them may be empty, the identity. `*3` behind a layer or a bracket
    repeats it. Repeats are written out, and parts are named by kind and place after that, a join by
    the place of its closing bracket.

    Raises `ReadError`: its first line says what is wrong, the lines below it show where.

    >>> [str(part) for part in stack_parts("convk3s2samex64 [ + k3d1]*2 ups2")]
    ['k3s2x64', '[ + k3]', '[ + k3]', 'ups2']
    >>> stack_parts("k3s2x64 k3q2")
    Traceback (most recent call last):
        ...
    atrous.errors.ReadError: layer 2 `k3q2`: 'q' is not known; use k s d p x, same, valid or causal.
      k3s2x64 k3q2
                ^
    """
    parser = _Parser(text)
    parts = parser.parts(0)
    if parser.ahead is not None:
        parser.stray()
    return _named(parts, _Count())


def parse_stack(text: str) -> tuple[StackLayer, ...]:
    """The layers of a stack without branches and `global`, in order; repeats are written out.

    Raises `ReadError` for a text that `stack_parts` does not read, and for one with branches.

    >>> [layer.name for layer in parse_stack("k3s2x64 maxk2s2*2")]
    ['conv1', 'max2', 'max3']
    """
    layers = []
    for part in stack_parts(text):
        if isinstance(part, StackJoin) or part.kind == "global":
            what = "global" if isinstance(part, StackLayer) else brief(str(part), 40)
            raise ReadError(
                f"`{what}` is no layer of a plain chain, which is what is edited here: stacks with "
                "branches or `global` are for `atrous inspect`, `compare` and the other commands."
            )
        layers.append(part)
    return tuple(layers)


@lru_cache(1024)
def _layer_of(word: str) -> StackLayer | None:
    """The layer of a word alone; None for one whose fault is yet to be shown in its text."""
    try:
        return LayerWord(word, 0, len(word), 0).layer()
    except ReadError:
        return None


@dataclass(slots=True)
class _Count:
    """How many parts have a name."""

    place: int = 0


def _named(parts: Sequence[StackPart], count: _Count) -> tuple[StackPart, ...]:
    """The parts, named by kind and place."""
    named: list[StackPart] = []
    for part in parts:
        if isinstance(part, StackJoin):
            branches = tuple(_named(branch, count) for branch in part.branches)
            count.place += 1
            named.append(replace(part, branches=branches, name=f"{part.how}{count.place}"))
        else:
            count.place += 1
            named.append(replace(part, name=f"{part.kind}{count.place}"))
    return tuple(named)


def _layer_count(parts: Sequence[StackPart]) -> int:
    """How many layers and joins there are."""
    return sum(
        1 + sum(map(_layer_count, part.branches)) if isinstance(part, StackJoin) else 1
        for part in parts
    )


class _Parser:
    """Reads the tokens of a text one after the other."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = list(_TOKEN.finditer(text))
        self.next = self.place = 0
        layers = sum(token.group() not in "[]|*+" for token in self.tokens)
        if not layers and not self.tokens:
            error = ReadError("the stack has no layers; write some, such as `k3s2x64 k3d2`.")
            error.see = HELP
            raise error
        self.check(layers)

    @property
    def ahead(self) -> str | None:
        """The token that comes next; None at the end."""
        return self.tokens[self.next].group() if self.next < len(self.tokens) else None

    @property
    def at(self) -> int:
        """Where the next token begins, or the text ends."""
        if self.next < len(self.tokens):
            return self.tokens[self.next].start()
        return len(self.text.rstrip())

    def parts(self, depth: int) -> list[StackPart]:
        """Parts in a row, up to a sign that ends them."""
        found: list[StackPart] = []
        size = 0
        while self.ahead not in (None, "]", "|", "+"):
            if self.ahead == "*":
                self.fail(self.at, "`*` repeats what stands before it, as in `k3*4` or `[ ... ]*4`")
            made = self.bracket(depth + 1) if self.ahead == "[" else [self.layer()]
            count = self.times()
            size += _layer_count(made) * count
            self.check(size)
            found += made * count
        return found

    def layer(self) -> StackLayer:
        """The layer that the next token is."""
        token = self.tokens[self.next]
        word = token.group()
        self.place += 1
        if word.isdecimal() and self.next + 1 < len(self.tokens) and self.peek() == "*":
            self.fail(token.start(), f"a repeat stands behind what it repeats: `[ ... ]*{word}`")
        self.next += 1
        known = _layer_of(word)
        return known or LayerWord(self.text, token.start(), token.end(), self.place).layer()

    def peek(self) -> str:
        """The token behind the next one."""
        return self.tokens[self.next + 1].group()

    def bracket(self, depth: int) -> list[StackPart]:
        """What stands between brackets: a join, or parts alone where there is one branch."""
        opened = self.at
        if depth > _DEEPEST:
            self.fail(opened, f"brackets stand {depth} deep; at most {_DEEPEST} are read")
        sign: str | None = None
        branches: list[list[StackPart]] = []
        columns: list[int] = []
        size = 1
        while True:
            self.next += 1
            columns.append(self.at + 1)
            branches.append(self.parts(depth))
            size += _layer_count(branches[-1])
            self.check(size)
            end = self.ahead
            if end is None:
                self.fail(opened, "this `[` is not closed; add its `]`")
            if end == "]":
                break
            if sign not in (None, end):
                self.fail(
                    self.at,
                    "one bracket joins with `|` or with `+`, not both; nest one, as in "
                    "`[a | [b + c]]`",
                )
            sign = end
        self.judge(opened, branches, columns)
        self.next += 1
        if sign is None:
            return branches[0]
        how: How = "concat" if sign == "|" else "add"
        return [StackJoin(how, tuple(map(tuple, branches)), tuple(columns))]

    def judge(self, opened: int, branches: list[list[StackPart]], columns: list[int]) -> None:
        """Refuse brackets with nothing in them, and more than one empty branch."""
        empty = [i for i, branch in enumerate(branches) if not branch]
        if len(empty) == len(branches):
            self.fail(opened, "this bracket holds no layers; write some, as in `[k3 | k3d2]`")
        if len(empty) > 1:
            self.fail(
                columns[empty[1]] - 1,
                "a second branch is empty; one empty branch is the identity, leave this one out",
            )

    def times(self) -> int:
        """How often what was just read stands, by the `*` that may follow."""
        if self.ahead != "*":
            return 1
        self.next += 1
        digits = self.ahead or ""
        if not (digits.isascii() and digits.isdecimal()) or not int(digits[:9]):
            self.fail(min(self.at, len(self.text) - 1), "`*` takes a whole number of at least 1")
        self.next += 1
        if self.ahead == "*":
            self.fail(self.at, "this is repeated already; leave one `*` out")
        return int(digits[:9])

    def check(self, layers: int) -> None:
        """Refuse more layers than are read."""
        if layers > _MOST_LAYERS:
            error = ReadError(
                f"the stack has {layers:,} layers, of which at most {_MOST_LAYERS:,} are read; "
                "build longer networks with atrous.Builder."
            )
            error.see = HELP
            raise error

    def stray(self) -> NoReturn:
        """Refuse a sign that stands outside brackets."""
        if self.ahead == "]":
            self.fail(self.at, "this `]` closes nothing; leave it out, or open it with `[`")
        self.fail(
            self.at, f"`{self.ahead}` joins branches inside brackets, as in `[k3 {self.ahead} k3]`"
        )

    def fail(self, at: int, message: str) -> NoReturn:
        """Raise the error with a caret under position `at`."""
        refuse_at(self.text, at, f"column {at + 1}: {message}")
