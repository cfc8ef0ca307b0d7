"""Two PyTorch models as a pair that can be certified."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from atrous.certification.certify import Weights
from atrous.certification.match import matched
from atrous.certification.measured import compare_maps
from atrous.certification.proof import Proof, prove
from atrous.certification.verdicts import Cause
from atrous.errors import ReadError
from atrous.geometry import Lockstep
from atrous.network import Network
from atrous.network.folded_pads import folded
from atrous.network.shapes import Shapes
from atrous.network.walk import pruned
from atrous.readers.torch.reader import read_torch
from atrous.runners.torch import Runner, draw_weights, random_inputs, share_weights

__all__ = ["TorchPair"]


class TorchPair:
    """Two modules with the same parameters by name, run in float64 on the same random inputs."""

    precision = "float64"

    def __init__(
        self,
        reference: nn.Module,
        candidate: nn.Module,
        names: Sequence[str] | None = None,
        *,
        weights: tuple[Weights, ...] = ("drawn", "own"),
    ) -> None:
        self.models = reference, candidate
        self.names = names
        self.weights = weights
        self._read: dict[Shapes, tuple[Network, Network]] = {}
        self._runners: dict[Weights, tuple[Runner, Runner]] = {}

    def networks(self, shapes: Shapes) -> tuple[Network, Network]:
        """Both as networks at these input shapes, paddings folded in."""
        if shapes not in self._read:
            one, two = (folded(read_torch(model, shapes)) for model in self.models)
            self._read[shapes] = one, two
        return self._read[shapes]

    def known(self, shapes: Shapes, networks: tuple[Network, Network]) -> None:
        """Networks that have been read already."""
        self._read[shapes] = networks

    def runners(self, shapes: Shapes, weights: Weights) -> tuple[Runner, Runner]:
        """Both models in float64, the reference's weights in both."""
        if weights not in self._runners:
            one, two = (Runner(model, self.names) for model in self.models)
            if weights == "drawn":
                draw_weights(one, shapes)
            share_weights(one.model, two.model)
            self._runners[weights] = one, two
        return self._runners[weights]

    def arrays(
        self, shapes: Shapes, weights: Weights, outputs: Sequence[tuple[str, str]]
    ) -> tuple[list[Any], list[Any]] | None:
        """What both make of the same inputs; None where their outputs cannot be told apart."""
        one, two = self.runners(shapes, weights)
        inputs = random_inputs(shapes, seed=7)
        try:
            made = one.run(inputs), two.run(inputs)
        except ReadError:
            return None
        except (RuntimeError, ValueError, AssertionError, TypeError, IndexError) as error:
            raise ReadError(
                f"the models do not run in float64 on random inputs of {list(shapes)}: "
                f"{(str(error).splitlines() or [''])[0][:160]}"
            ) from error
        if any(len(found) != len(outputs) for found in made):
            return None
        return made

    def first_difference(
        self, shapes: Shapes, networks: tuple[Network, Network], proofs: Sequence[Proof]
    ) -> Cause | None:
        """The first module with parameters of its own whose map differs from what it should be."""
        reference, candidate = networks
        wanted = pruned(reference, [proof.output for proof in proofs])
        twins = prove(wanted, candidate, [])[1]
        pairs = matched(wanted, candidate)
        names = [
            node.name
            for node in wanted.nodes
            if node.params and node.name == node.module and node.name in pairs
        ]
        one, two = self.runners(shapes, self.weights[0])
        inputs = random_inputs(shapes, seed=7)
        try:
            here, there = one.maps(inputs, names), two.maps(inputs, names)
        except (RuntimeError, ValueError, AssertionError, TypeError):
            return None
        for node in wanted.nodes:
            if node.name not in here or node.name not in there:
                continue
            twin = twins.get(node.output.name)
            grid = list(node.output.grid)
            dims = [
                i
                for i, dim in enumerate(node.output.layout)
                if len(dim) == 1 and dim[0].axis is not None
            ]
            if twin is None or len(dims) != len(grid):
                continue
            axes = [str(node.output.layout[i][0].axis) for i in dims]
            locks = [twin.locks.get(axis, Lockstep()) for axis in axes]
            found = compare_maps(here[node.name], there[node.name], dims, locks)
            if found.verdict != "exact":
                return Cause(
                    node.name,
                    f"the first layer whose map differs when both are run ({found.verdict}, "
                    f"relative error {found.relative_error:.2g})",
                )
        return None
