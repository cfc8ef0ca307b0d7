"""Two ONNX models as a pair that can be certified."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from atrous.certification.certify import Arrays, Weights
from atrous.errors import AtrousError, MissingDependencyError, ReadError
from atrous.network import Network
from atrous.network.folded_pads import folded
from atrous.network.shapes import Shapes
from atrous.readers import read
from atrous.readers.onnx.file import load
from atrous.readers.onnx.inputs import declared
from atrous.refusal import Refusal
from atrous.runners.onnx import OnnxRunner, RunError, random_inputs

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
            given = shapes[0] if len(shapes) == 1 else shapes
            found = []
            for side, model in zip(_SIDES, self.models, strict=True):
                try:
                    found.append(folded(read(model, given, structure_only=True)))
                except ReadError as error:
                    raise ReadError(f"the {side} is not read there: {error}") from error
            self._read[shapes] = found[0], found[1]
        return self._read[shapes]

    def refuses(self, shapes: Shapes) -> str:  # noqa: ARG002 - a protocol
        """Left to the reader: what it cannot read, it says."""
        return ""

    def may_vary(self) -> tuple[tuple[bool, ...], ...]:
        """The dimensions that both files leave open."""
        one, two = (_open(model) for model in self.models)
        return tuple(
            tuple(a and b for a, b in zip(*both, strict=False))
            for both in zip(one, two, strict=False)
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

    def first_difference(self, *_: Any) -> None:
        """Left to the structure: values inside a file have no names that both share."""

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
            named = dict(zip(self._runners[0].inputs, shapes, strict=False))
            found = runner.run(random_inputs(self.models[0], named, seed), wanted)
        except MissingDependencyError as error:
            return Refusal("runtime", "", str(error))
        except RunError as error:
            return Refusal("size", "", f"the {name} does not take it ({error})")
        except AtrousError as error:
            return Refusal("model", "", f"the {name}: {error}")
        return [found[at] for at in wanted]


def _open(model: Any) -> list[list[bool]]:
    """For each input of a file, by dimension, whether it leaves the size open."""
    graph = load(model).model.graph
    stored = {item.name for item in graph.initializer}
    return [
        [not isinstance(size, int) for size in declared(item) or ()]
        for item in graph.input
        if item.name not in stored
    ]
