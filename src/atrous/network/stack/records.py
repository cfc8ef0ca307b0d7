"""What a text in the stack notation says: layers, and joins of branches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

__all__ = [
    "KINDS",
    "PADDINGS",
    "StackJoin",
    "StackKind",
    "StackLayer",
    "StackPadding",
    "StackPart",
    "stack_text_of",
]

StackKind = Literal["conv", "dw", "max", "avg", "tconv", "up", "global"]
StackPadding = Literal["same", "valid", "causal"]

KINDS: tuple[StackKind, ...] = get_args(StackKind)
PADDINGS: tuple[StackPadding, ...] = get_args(StackPadding)


@dataclass(frozen=True, slots=True)
class StackLayer:
    """One layer of a stack; `str` writes it in the notation, with what is usual left out.

    `kernel`, `stride` and `dilation` hold one value for each spatial axis, or one for all of them.
    `channels` is None where the layer keeps its input's number. `name` is kind and place, from 1.

    >>> from atrous.network.stack import parse_stack
    >>> layer = parse_stack("k3 maxk(1,2)s(1,2)valid")[1]
    >>> layer.name, layer.kernel, layer.padding
    ('max2', (1, 2), 'valid')
    >>> str(layer)
    'maxk(1,2)s(1,2)valid'
    """

    kind: StackKind
    kernel: tuple[int, ...] = (1,)
    stride: tuple[int, ...] = (1,)
    dilation: tuple[int, ...] = (1,)
    padding: StackPadding | tuple[int, int] = "same"
    channels: int | None = None
    name: str = field(default="", compare=False)

    def __str__(self) -> str:
        text: str = "" if self.kind == "conv" else self.kind
        if self.kind == "global":
            return text
        if self.kind != "up":
            text += f"k{_written(self.kernel)}"
        if self.stride != (1,) or self.kind == "up":
            text += f"s{_written(self.stride)}"
        if self.dilation != (1,):
            text += f"d{_written(self.dilation)}"
        if isinstance(self.padding, tuple):
            text += f"p({self.padding[0]},{self.padding[1]})"
        elif self.padding != "same":
            text += self.padding
        return text if self.channels is None else f"{text}x{self.channels}"


@dataclass(frozen=True, slots=True)
class StackJoin:
    """Branches that read one map, and whose results are concatenated or added.

    A branch without parts is the identity. `columns` is where each begins in the text, from 1.

    >>> from atrous.network.stack import stack_parts
    >>> join = stack_parts("[ + k3 k3]")[0]
    >>> join.name, join.how, [len(branch) for branch in join.branches], str(join)
    ('add3', 'add', [0, 2], '[ + k3 k3]')
    """

    how: Literal["concat", "add"]
    branches: tuple[tuple[StackPart, ...], ...]
    columns: tuple[int, ...] = field(default=(), compare=False)
    name: str = field(default="", compare=False)

    def __str__(self) -> str:
        sign = " | " if self.how == "concat" else " + "
        return f"[{sign.join(map(stack_text_of, self.branches))}]"


StackPart = StackLayer | StackJoin


def stack_text_of(parts: Sequence[StackPart]) -> str:
    """Parts in the notation."""
    return " ".join(map(str, parts))


def _written(values: tuple[int, ...]) -> str:
    return str(values[0]) if len(values) == 1 else f"({','.join(map(str, values))})"
