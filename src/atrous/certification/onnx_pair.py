"""Two ONNX models as a pair that can be certified."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from atrous.certification.certify import Weights
from atrous.certification.proof import Proof
from atrous.certification.verdicts import Cause
from atrous.errors import AtrousError, MissingDependencyError
from atrous.network import Network
from atrous.network.folded_pads import folded
from atrous.network.shapes import Shapes
from atrous.readers import read
from atrous.runners.onnx import OnnxRunner, random_inputs

__all__ = ["OnnxPair"]


class OnnxPair:
    """Two models with the same inputs, run in ONNX Runtime as they are written."""

    precision = "float32"
    weights: tuple[Weights, ...] = ("own",)

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
        self._ran = False

    def networks(self, shapes: Shapes) -> tuple[Network, Network]:
        """Both as networks at these input shapes."""
        if shapes not in self._read:
            given = shapes[0] if len(shapes) == 1 else shapes
            one, two = (folded(read(model, given)) for model in self.models)
            self._read[shapes] = one, two
        return self._read[shapes]

    def arrays(
        self,
        shapes: Shapes,
        weights: Weights,  # noqa: ARG002 - a file has its own
        outputs: Sequence[tuple[str, str]],
    ) -> tuple[list[Any], list[Any]] | None:
        """What both make of the same inputs, with their own weights."""
        if self._runners is None:
            try:
                self._runners = self._runner(self.models[0]), self._runner(self.models[1])
            except MissingDependencyError as error:
                self.precision = f"not run: {error}"
                return None
        made: list[list[Any]] = []
        named = dict(zip(self._runners[0].inputs, shapes, strict=False))
        inputs = random_inputs(self.models[0], named, 7)
        for side, runner in enumerate(self._runners):
            network = self.networks(shapes)[side]
            origins = {node.output.name: node.origin for node in network.nodes}
            wanted = [origins.get(pair[side], "") for pair in outputs]
            if not all(wanted):
                return None
            try:
                found = runner.run(inputs, wanted)
            except AtrousError as error:
                if not self._ran:
                    self.precision = f"not run: {error}"
                return None
            made.append([found[name] for name in wanted])
        self._ran = True
        return made[0], made[1]

    def first_difference(
        self,
        _shapes: Shapes,
        _networks: tuple[Network, Network],
        _proofs: Sequence[Proof],
    ) -> Cause | None:
        """Left to the structure: values inside a file have no names that both share."""
        return None

    def _runner(self, model: Any) -> OnnxRunner:
        return OnnxRunner(model, folder=self.folder, threads=2)
