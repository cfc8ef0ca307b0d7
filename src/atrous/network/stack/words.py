"""One layer of the stack notation: what its letters, words and numbers say."""

from __future__ import annotations

import re
from typing import NoReturn

from atrous.errors import ReadError
from atrous.network.builder import AXES
from atrous.network.stack.records import KINDS, PADDINGS, StackKind, StackLayer, StackPadding

__all__ = ["HELP", "LARGEST", "LayerWord", "brief", "refuse_at"]

HELP = "atrous stack --help"
"""The command that shows the notation."""
LARGEST = 1 << 16
"""What one number may reach: the reads are held position by position."""

_NUMBERS = {"k": "kernel", "s": "stride", "d": "dilation", "p": "padding", "x": "channels"}
_SHOWN = 72

_LETTERS = re.compile(r"[a-z]+", re.ASCII)
_VALUES = re.compile(r"\(([^()]*)\)|([+-]?\d+)", re.ASCII)
_VALUE = re.compile(r"[+-]?\d+", re.ASCII)
_LISTED = re.compile(r"([kdsp])([+-]?\d+(?:[,;][+-]?\d+)+)", re.ASCII)
_PART = re.compile(r"[,;](?:[sdpx](?=[(\d+-])|same|valid|causal)", re.ASCII)

_NONE = "stacks have no activations and norms, which read nothing more; leave it out"
_IDENTITY = "an empty branch is the identity, as in `[ + k3 k3]`"
_ADVICE = {
    **dict.fromkeys(("relu", "bn", "act", "gelu", "silu", "norm", "tanh", "dropout"), _NONE),
    **dict.fromkeys(("id", "identity", "skip", "res", "residual", "input"), _IDENTITY),
    **dict.fromkeys(("gap", "gpool", "adaptive", "pooling", "avgglobal"), "write `global`"),
    **dict.fromkeys(("deconv", "convt", "transpose", "upconv"), "write `tconvk2s2`"),
    **dict.fromkeys(("upsample", "resize", "interp", "bilinear", "nearest"), "write `ups2`"),
    **dict.fromkeys(("sep", "sepconv", "separable"), "write `dwk3 k1`"),
    **dict.fromkeys(("pw", "pointwise"), "write `k1`"),
    **dict.fromkeys(("cat", "concat"), "`[k3 | k3d2]` concatenates"),
    **dict.fromkeys(("add", "sum"), "`[k3 + k3d2]` adds"),
    **dict.fromkeys(("group", "groups", "gconv"), "groups are for `dw` alone, one a channel"),
    "pool": "write `maxk2s2` or `avgk2s2`",
}
_BRACKETS = "square brackets group, as in `[k3 k3]*4`, and hold branches, as in `[k3 | k3d2]`"
_SIGNS = {
    **dict.fromkeys(",;", "layers stand apart by spaces, branches by `|` or `+`"),
    **dict.fromkeys("(){}", _BRACKETS),
    **dict.fromkeys("->", "layers run from left to right, with spaces between them"),
}


class LayerWord:
    """The part of a stack's text that is one layer."""

    def __init__(self, text: str, start: int, end: int, place: int) -> None:
        self.text, self.start, self.end, self.place = text, start, end, place
        self.seen: dict[str, int] = {}

    def layer(self) -> StackLayer:
        """The record of this layer."""
        word = self.text[self.start : self.end]
        # `dw`, `same` and so on begin with letters that also stand for numbers: longest first.
        kind: StackKind = next((k for k in KINDS if word.startswith(k)), "conv")
        at = self.start + (len(kind) if word.startswith(kind) else 0)
        numbers: dict[str, tuple[int, ...]] = {}
        padding: StackPadding | tuple[int, int] = "same"
        while at < self.end:
            dialect = next((p for p in PADDINGS if self.text.startswith(p, at)), None)
            if dialect is not None:
                self._once("padding", at)
                padding, at = dialect, at + len(dialect)
                continue
            letter = self.text[at]
            if letter not in _NUMBERS or self._is_word(at):
                self._unknown(at, kind)
            self._once(_NUMBERS[letter], at)
            values, after = self._values(_NUMBERS[letter], at + 1)
            if letter == "p":
                padding = self._lo_hi(values, at + 1)
            else:
                numbers[_NUMBERS[letter]] = values
            at = after
        self._check(kind)
        channels = numbers.get("channels")
        return StackLayer(
            kind=kind,
            kernel=numbers.get("kernel", (1,)),
            stride=numbers.get("stride", (1,)),
            dilation=numbers.get("dilation", (1,)),
            padding=padding,
            channels=None if channels is None else channels[0],
            name=f"{kind}{self.place}",
        )

    def _check(self, kind: StackKind) -> None:
        if kind == "global":
            for at in self.seen.values():
                self.fail(at, "`global` stands alone; layers go behind it, as in `global k1x64`")
            return
        if kind == "up":
            for name, at in self.seen.items():
                if name == "channels":
                    self.fail(at, "`up` keeps the channels of its input; write `ups2 k1x64`")
                if name != "stride":
                    self.fail(at, f"`up` has no {name}; write its factor as a stride, `ups2`")
            if "stride" not in self.seen:
                self.fail(self.end - 1, "`up` needs its factor as a stride; write `ups2`")
            return
        if "kernel" not in self.seen:
            if self.start in self.seen.values():
                given = brief(self.text[self.start : self.end])
                self.fail(
                    self.start,
                    f"`{given}` is part of a layer; write it without a space, as in `k3{given}`, "
                    f"or as a layer of its own, `k1{given}`; `*4` repeats",
                )
            self.fail(self.start, f"`{kind}` needs a kernel; add one, such as `k3`")
        if kind in ("max", "avg") and "channels" in self.seen:
            at = self.seen["channels"]
            self.fail(at, f"`{kind}` keeps the channels of its input; leave `x` out")

    def _once(self, name: str, at: int) -> None:
        if name in self.seen:
            self.fail(at, f"the {name} is given twice; leave one out")
        self.seen[name] = at

    def _is_word(self, at: int) -> bool:
        letters = _LETTERS.match(self.text, at, self.end)
        return letters is not None and len(letters.group()) > 1

    def _unknown(self, at: int, kind: StackKind) -> NoReturn:
        if self.text[at].isdigit() and kind == "up" and at == self.start + len(kind):
            self.fail(at, "`up` needs its factor as a stride; write `ups2`")
        if self.text[at].isdigit():
            self.fail(at, "a number needs its letter before it, such as `k3` for the kernel")
        if self.text[at] in _SIGNS:
            self.fail(at, self._listed(at) or _SIGNS[self.text[at]])
        if self.text[at].isupper():
            self.fail(at, "letters are small, as in `k3s2x64`")
        letters = _LETTERS.match(self.text, at, self.end)
        got = letters.group() if letters else self.text[at]
        short = got[:-1] if got[-1] in _NUMBERS else got
        advice = _ADVICE.get(got) or _ADVICE.get(short)
        if at == self.start and len(got) > 1:
            name = got if got in _ADVICE else short
            use = advice or f"use {', '.join(KINDS)}"
            self.fail(at, f"no kind is named {brief(name)!r}; {use}")
        if "global" in (kind, got):
            self.fail(at, "`global` stands alone; layers go behind it, as in `global k1x64`")
        if kind in ("max", "avg") and short == "pool":
            self.fail(at, f"a pool is `{kind}` alone, as in `{kind}k2s2`")
        self.fail(at, f"{brief(got)!r} is not known; use k s d p x, same, valid or causal")

    def _listed(self, at: int) -> str | None:
        """What to write for a comma inside a layer, as in `k3s2,1`; None if it parts layers."""
        for found in _LISTED.finditer(self.text, self.start, self.end):
            if found.start() < at < found.end():
                letter, values = found.group(1), found.group(2).replace(";", ",")
                of = "both sides" if letter == "p" else "several axes"
                fix = brief(f"{letter}({values})")
                return f"the values of {of} stand in brackets; write `{fix}`"
        if at > self.start and _PART.match(self.text, at, self.end):
            got = self.text[at]
            return f"the parts of a layer stand together, as in `k3s2valid`, without a `{got}`"
        return None

    def _values(self, name: str, at: int) -> tuple[tuple[int, ...], int]:
        found = _VALUES.match(self.text, at, self.end)
        if found is None:
            self.fail(min(at, self.end - 1), f"{name} needs a number here, such as 3 or (1,7)")
        if found.group(2):
            return (self._number(name, found.group(2), at),), found.end()
        values = []
        place = at + 1
        for part in found.group(1).split(","):
            digits = part.strip()
            begin = place + len(part) - len(part.lstrip())
            if _VALUE.fullmatch(digits) is None:
                self.fail(min(begin, found.end() - 1), f"{name} needs a number here, as in (1,7)")
            values.append(self._number(name, digits, begin))
            place += len(part) + 1
        if name == "channels" and len(values) > 1:
            self.fail(at, f"channels is one number, got {len(values)}")
        if len(values) > max(AXES):
            self.fail(at, f"{name} has {len(values)} values; there are at most 3 axes")
        return tuple(values), found.end()

    def _number(self, name: str, digits: str, at: int) -> int:
        # A number too long to matter is not even converted.
        value = int(digits) if len(digits) < 12 else (-1 if digits[0] == "-" else 1) * 10**12
        if name != "padding" and value < 1:
            shown = brief(digits.lstrip("+"))
            if name == "channels":
                self.fail(at, f"channels is {shown}: a layer needs at least 1")
            self.fail(at, f"{name} is {shown}: a window needs a whole {name} of at least 1")
        if abs(value) > LARGEST:
            shown = brief(digits.lstrip("+"))
            self.fail(at, f"{name} is {shown}: at most {LARGEST:,} is read")
        return value

    def _lo_hi(self, values: tuple[int, ...], at: int) -> tuple[int, int]:
        if len(values) > 2:
            self.fail(at, f"padding is (LO,HI) for every axis, got {len(values)} numbers")
        return values[0], values[-1]

    def fail(self, at: int, message: str) -> NoReturn:
        """Raise the error with a caret under position `at` of the text."""
        shown = self.text[self.start : self.end]
        refuse_at(self.text, at, f"layer {self.place} `{brief(shown)}`: {message}")


def refuse_at(text: str, at: int, message: str) -> NoReturn:
    """Raise a `ReadError` that shows a text with a caret under position `at`."""
    first = max(at - _SHOWN // 2, 0) if len(text) > _SHOWN else 0
    # One column each, whatever the text holds: the caret must line up.
    line = "".join(c if c.isprintable() else " " for c in text[first : first + _SHOWN])
    dots = "..." if first else ""
    more = "..." if first + _SHOWN < len(text) else ""
    caret = f"  {dots}{line}{more}\n  {' ' * (len(dots) + at - first)}^"
    error = ReadError(f"{message}.\n{caret}")
    error.see = HELP
    raise error


def brief(text: str, most: int = 24) -> str:
    """A text that may be long, cut."""
    return text if len(text) <= most else f"{text[: most - 3]}..."
