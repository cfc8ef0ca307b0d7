"""Two ONNX models as a pair that can be certified."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from atrous.certification.certify import Arrays, Weights
from atrous.errors import AtrousError, MissingDependencyError, ReadError, RunError, concerning
from atrous.network import Network
from atrous.network.folded_pads import folded
from atrous.network.shapes import Shape, Shapes
from atrous.readers import read
from atrous.readers.kind import source_name
from atrous.readers.onnx.file import load
from atrous.readers.onnx.inputs import declared
from atrous.refusal import Refusal
from atrous.runners.onnx import OnnxRunner, random_inputs

__all__ = ["OnnxPair"]

_SIDES = "reference", "candidate"
_SEED, _OTHER_SEED = 7, 8


class OnnxPair:
    """Two models with the same inputs, run in ONNX Runtime as they are written."""

    precision = "float32"
    weights: tuple[Weights, ...] = ("own",)
    guessed: frozenset[Shapes] = frozenset()
    remarks: tuple[str, ...] = ()

    def __init__(
        self,
        reference: Any,
        candidate: Any,
        names: Sequence[str] | None = None,
        *,
        folder: Path | None = None,
    ) -> None:
        self.models = reference, candidate
        self.names = names
        self.folder = folder
        one, two = (_open(model) for model in self.models)
        self._inputs = one, two
        self._read: dict[Shapes, tuple[Network, Network]] = {}
        self._runners: tuple[OnnxRunner, OnnxRunner] | None = None

    def networks(
        self,
        shapes: Shapes,
        *,
        guess: bool = False,  # noqa: ARG002 - a file is read quickly
    ) -> tuple[Network, Network]:
        """Both as networks at these input shapes."""
        if shapes not in self._read:
            found = []
            for side, (model, inputs) in enumerate(zip(self.models, self._inputs, strict=True)):
                try:
                    given = self._by_name(inputs, shapes)
                    found.append(folded(read(model, given, structure_only=True)))
                except ReadError as error:
                    raise ReadError(f"the {_SIDES[side]} is not read there: {error}") from error
            self._read[shapes] = found[0], found[1]
        return self._read[shapes]

    def refuses(self, shapes: Shapes) -> str:  # noqa: ARG002 - a protocol
        """Left to the reader: what it cannot read, it says."""
        return ""

    def may_vary(self) -> tuple[tuple[bool, ...], ...]:
        """The dimensions that both files leave open."""
        one, two = self._inputs
        other = dict(zip(self._as_reference(two), two.values(), strict=True))
        return tuple(
            tuple(a and b for a, b in zip(dims, other.get(name, dims), strict=False))
            for name, dims in one.items()
        )

    def arrays(
        self,
        shapes: Shapes,
        weights: Weights,  # noqa: ARG002 - a file has its own
        outputs: Sequence[tuple[str, str]],
    ) -> Arrays | Refusal:
        """What both make of the same inputs, with their own weights."""
        made = [self._run(side, shapes, outputs, _SEED) for side in (0, 1)]
        one, two = made
        if isinstance(one, Refusal):
            return one
        return two if isinstance(two, Refusal) else (one, two)

    def moved(
        self,
        shapes: Shapes,
        weights: Weights,  # noqa: ARG002 - a file has its own
        outputs: Sequence[tuple[str, str]],
    ) -> list[Any] | Refusal:
        """What the reference makes of other inputs."""
        return self._run(0, shapes, outputs, _OTHER_SEED)

    def again(
        self,
        shapes: Shapes,
        weights: Weights,  # noqa: ARG002 - a file has its own
        outputs: Sequence[tuple[str, str]],
    ) -> list[Any] | Refusal:
        """What the reference makes of the same inputs once more."""
        return self._run(0, shapes, outputs, _SEED)

    def first_difference(self, *_: Any) -> None:
        """Left to the structure: values inside a file have no names that both share."""

    def _as_reference(self, inputs: Sequence[str] | dict[str, Any]) -> list[str]:
        """What the reference calls these inputs: the same, or what stands in their places."""
        names, known = list(inputs), list(self._inputs[0])
        return known if len(names) == len(known) and set(names) != set(known) else names

    def _by_name(self, inputs: dict[str, Any], shapes: Shapes) -> dict[str, Shape]:
        """The shapes of one side's inputs; a part of a model takes fewer."""
        named = dict(zip(self._inputs[0], shapes, strict=False))
        here = self._as_reference(inputs)
        lost = next((name for name in here if name not in named), None)
        if lost is not None:
            raise ReadError(f"it has an input {lost[:80]!r}, which the reference has not.")
        return {name: named[known] for name, known in zip(inputs, here, strict=True)}

    def _run(
        self, side: int, shapes: Shapes, outputs: Sequence[tuple[str, str]], seed: int
    ) -> list[Any] | Refusal:
        name = _SIDES[side]
        try:
            if self._runners is None:
                one, two = (OnnxRunner(m, folder=self.folder, threads=2) for m in self.models)
                self._runners = one, two
            runner = self._runners[side]
            network = self.networks(shapes)[side]
            origins = {node.output.name: node.origin for node in network.nodes}
            origins |= {tensor.name: tensor.name for tensor in network.inputs}
            wanted = [origins.get(pair[side], "") for pair in outputs]
            missing = next((p[side] for p, at in zip(outputs, wanted, strict=True) if not at), None)
            if missing is not None:
                return Refusal("outputs", "", f"what the {name} calls {missing} is not known")
            named = dict(zip(self._inputs[0], shapes, strict=False))
            made = dict(zip(named, random_inputs(self.models[0], named, seed), strict=True))
            inputs = [made[name] for name in self._as_reference(self._inputs[side])]
            found = runner.run(inputs, wanted)
        except MissingDependencyError as error:
            return Refusal("runtime", "", str(error))
        except RunError as error:
            return Refusal("size", "", f"the {name} does not take it ({error})")
        except AtrousError as error:
            return Refusal("model", "", f"the {name}: {error}")
        return [found[at] for at in wanted]


def _open(model: Any) -> dict[str, list[bool]]:
    """For each input of a file, by dimension, whether it leaves the size open."""
    with concerning(source_name(model)):
        graph = load(model).model.graph
    stored = {item.name for item in graph.initializer}
    return {
        item.name: [not isinstance(size, int) for size in declared(item) or ()]
        for item in graph.input
        if item.name not in stored
    }
