"""Steps made one: functions in the step whose result they take, or in the one that takes theirs."""

from __future__ import annotations

from collections.abc import Sequence

from atrous.operators.kernels.stream import FUNCTIONS
from atrous.runners.stream.native.written import NativeStep, RowPlace, Written

__all__ = ["join_steps"]

_EACH = FUNCTIONS["leaky_each"]
_BEFORE = frozenset(FUNCTIONS) - {"none", "clamped"}
"""Functions that a step of two takes for its operands: of one number, which may be a factor."""
_TAKING = frozenset(["product", "depthwise", "binary", "grid", "grid_depthwise"])
"""Steps that end with a function."""


def join_steps(written: Written, held: Sequence[bool]) -> None:
    """Joins what can be; values that are `held` between pushes, or read twice, stay."""
    joined = _Joining(written, held)
    while joined.once():
        pass


class _Joining:
    """Steps and who reads their results."""

    def __init__(self, written: Written, held: Sequence[bool]) -> None:
        self.written, self.places = written, written.places
        self.held = {self.places[i].root for i, is_held in enumerate(held) if is_held}

    def once(self) -> bool:
        """Whether two steps became one."""
        self._look()
        for step in self.written.steps:
            done = (
                self._waved(step)
                or self._added(step)
                or self._behind(step)
                or self._summed_up(step)
                or self._before(step, 0)
                or self._before(step, 1)
            )
            if done:
                return True
        return False

    def _look(self) -> None:
        self.makers: dict[int, list[NativeStep]] = {}
        self.readers: dict[int, int] = {}
        for step in self.written.steps:
            if step.op != "give":
                self.makers.setdefault(step.value, []).append(step)
            for source in step.sources:
                root = self.places[source].root
                self.readers[root] = self.readers.get(root, 0) + 1

    def _only(self, source: int, readers: int = 1) -> NativeStep | None:
        """The step that makes all of a value for so many readers alone."""
        at = self.places[source]
        if at != RowPlace(at.root) or at.root in self.held:
            return None
        if self.readers[at.root] != readers or len(self.makers[at.root]) != 1:
            return None
        (maker,) = self.makers[at.root]
        return maker if self.written.is_whole(source) else None

    def _take_out(self, step: NativeStep) -> None:
        self.written.steps.remove(step)

    def _behind(self, step: NativeStep) -> bool:
        """A function into the step whose result it takes."""
        if step.op != "unary":
            return False
        maker = self._only(step.sources[0])
        if maker is None or self._moved(step, maker):
            return maker is not None
        if maker.fields.get("function", "none") != "none":
            return False
        each = FUNCTIONS[step.fields["function"]] >= _EACH
        if maker.op not in _TAKING or (each and maker.op != "binary"):
            return False
        if maker.column or maker.fields.get("add"):
            return False
        # What is made is made where its first part is: all that it reads lies in front.
        keys = ("function", "alpha", "beta", *(("weight", "bias") if each else ()))
        maker.fields |= {key: step.fields[key] for key in keys if key in step.fields}
        maker.value = step.value
        self._take_out(step)
        return True

    def _added(self, step: NativeStep) -> bool:
        """A sum into the product that is one of its operands: the other is where its sums begin."""
        if step.op != "binary" or step.fields["combine"] != "plus" or step.fields.get("one"):
            return False
        if {"left_function", "right_function"} & step.fields.keys() or len(set(step.sources)) == 1:
            return False
        function = step.fields.get("function", "none")
        if FUNCTIONS[function] >= _EACH or not self.written.is_whole(step.value):
            return False
        for mine, other in (step.sources[::-1], step.sources):
            maker = self._only(mine)
            if maker is None or maker.op != "product" or len(maker.sources) > 1 or maker.spread > 1:
                continue
            if maker.fields.get("function", "none") != "none" or maker.fields.get("add"):
                continue
            if maker.column or not self.written.is_whole(other):
                continue
            moved = {side: step.fields.get(f"{side}_column", 0) for side in ("left", "right")}
            if any(moved.values()):
                continue
            keys = ("function", "alpha", "beta")
            step.fields = maker.fields | {k: step.fields[k] for k in keys if k in step.fields}
            step.op, step.sources = "product", (maker.sources[0], other)
            step.window, step.behind = maker.window, maker.behind
            self._take_out(maker)
            return True
        return False

    def _moved(self, step: NativeStep, maker: NativeStep) -> bool:
        """Factors of each channel and what is added to each, as one function."""
        names = [one.fields.get("function") for one in (maker, step)]
        if names != ["scaled_each"] * 2 or "bias" in maker.fields or "weight" in step.fields:
            return False
        maker.fields["bias"] = step.fields["bias"]
        maker.value = step.value
        self._take_out(step)
        return True

    def _summed_up(self, step: NativeStep) -> bool:
        """Squares that are added up alone."""
        if step.op != "sum" or "left_function" in step.fields:
            return False
        maker = self._only(step.sources[0])
        if maker is None or maker.op != "unary" or maker.fields["function"] != "square":
            return False
        step.fields["left_function"] = "square"
        step.sources = maker.sources
        self._take_out(maker)
        return True

    def _before(self, step: NativeStep, side: int) -> bool:
        """A function of an operand into the step of two that takes it."""
        if step.op != "binary" or len(set(step.sources)) == 1:
            return False
        name = ("left", "right")[side]
        maker = self._only(step.sources[side])
        if maker is None or maker.op != "unary" or f"{name}_function" in step.fields:
            return False
        function = maker.fields["function"]
        if FUNCTIONS[function] >= _EACH or function not in _BEFORE or maker.fields.get("beta"):
            return False
        step.fields[f"{name}_function"] = function
        step.fields[f"{name}_alpha"] = maker.fields.get("alpha", 0.0)
        sources = list(step.sources)
        sources[side] = maker.sources[0]
        step.sources = tuple(sources)
        if not all(map(self.written.is_whole, sources)):
            count = self.written.channels(self.written.values[step.value])
            step.fields["channels"] = count
        self._take_out(maker)
        return True

    def _waved(self, step: NativeStep) -> bool:
        """`x + b sin(a x)^2` into one function."""
        if step.op != "binary" or step.fields["combine"] != "plus" or step.fields["one"]:
            return False
        for x, wave in (step.sources, step.sources[::-1]):
            chain: list[NativeStep] = []
            at = wave
            for function in ("scaled_each", "square", "sine", "scaled_each"):
                maker = self._only(at)
                if maker is None or maker.op != "unary" or maker.fields["function"] != function:
                    break
                if "bias" in maker.fields:
                    break
                chain.append(maker)
                at = maker.sources[0]
            if len(chain) < 4 or self.places[at] != self.places[x]:
                continue
            last, _, _, first = chain
            step.op, step.sources = "unary", (x,)
            step.fields = {
                "function": "snake_each",
                "channels": first.fields["channels"],
                "weight": first.fields["weight"],
                "bias": last.fields["weight"],
            }
            for one in chain:
                self._take_out(one)
            return True
        return False
