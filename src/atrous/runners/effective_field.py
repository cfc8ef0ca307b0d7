"""The measured effective receptive field: how strongly one output depends on each input position.

The analytic one beside it is `Footprint.effective`, which counts paths and knows no weights.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from atrous.analysis.effective import Effective, effective_box
from atrous.errors import GeometryError, MissingDependencyError, UnsupportedError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Measured", "measured_field"]

Weights = Literal["given", "random"]


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """The mean size of the gradient of output position `at` at each input position.

    `density` has the input's spatial shape and sums to 1. `weights` says whether the model's own
    weights were used (`given`: trained, where the model was) or drawn anew (`random`), `inputs`
    whether inputs were given or drawn from a normal distribution, and `samples` how many.
    """

    at: tuple[int, ...]
    weights: Weights
    inputs: Literal["given", "random"]
    samples: int
    density: NDArray[np.float64] = field(repr=False)

    def effective(self, share: float = 0.95) -> Effective:
        """The box that holds `share` of the density."""
        read = np.argwhere(self.density > 0)
        if not len(read):
            return effective_box(self.density, share, (0,) * self.density.ndim)
        low, high = read.min(axis=0), read.max(axis=0) + 1
        box = self.density[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
        return effective_box(box, share, tuple(int(o) for o in low))

    def to_dict(self) -> dict[str, object]:
        """Plain data, without the density itself."""
        return {
            "at": list(self.at),
            "weights": self.weights,
            "inputs": self.inputs,
            "samples": self.samples,
            "effective": self.effective().to_dict(),
        }

    def __str__(self) -> str:
        return (
            f"{self.effective()}, measured on {self.samples} {self.inputs} inputs with "
            f"{self.weights} weights"
        )


def measured_field(
    model: Any,
    input: Any,
    *,
    at: Sequence[int] | None = None,
    samples: int = 8,
    weights: Weights = "given",
    seed: int = 0,
) -> Measured:
    """The effective receptive field of `model`'s output at `at`, by gradients (Luo et al. 2016).

    `input` is one example tensor (its batch are the samples) or a shape, for which `samples`
    inputs are drawn. `at` is the middle of the output unless given; of several outputs the last
    one counts. The gradient of a random mixture of the channels is taken for each sample and its
    size summed over the input's channels. The model is not changed: `weights="random"` draws the
    parameters of a copy. Raises `UnsupportedError` where the output has no spatial axes.
    """
    try:
        import torch
    except ImportError:
        raise MissingDependencyError(
            "measuring an effective field runs the model with PyTorch, which is not installed; "
            "pip install 'atrous[torch]'."
        ) from None
    generator = torch.Generator().manual_seed(seed)
    given = isinstance(input, torch.Tensor)
    run = copy.deepcopy(model).eval()
    if weights == "random":
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            for module in run.modules():
                if hasattr(module, "reset_parameters"):
                    module.reset_parameters()
    shape = tuple(input.shape if given else input)
    rows = shape[0] if given else samples
    total: Any = None
    place: tuple[int, ...] = ()
    for row in range(rows):
        if given:
            x = input[row : row + 1].detach().clone()
        else:
            x = torch.randn((1, *shape[1:]), generator=generator)
        x.requires_grad_()
        output = _last(run(x), torch.Tensor)
        lengths = tuple(output.shape[2:])
        if not lengths:
            raise UnsupportedError(
                f"an output of shape {tuple(output.shape)} has no spatial axes to take a position "
                "of; measure a part of the model that has."
            )
        place = tuple(n // 2 for n in lengths) if at is None else tuple(at)
        if len(place) != len(lengths) or any(
            not 0 <= p < n for p, n in zip(place, lengths, strict=True)
        ):
            raise GeometryError(f"position {place} is not in an output of {lengths}.")
        mixture = torch.randn(output.shape[1], generator=generator).to(output)
        value = (output[(0, slice(None), *place)] * mixture).sum()
        (gradient,) = torch.autograd.grad(value, x)
        size = gradient[0].abs().sum(dim=0).double()
        total = size if total is None else total + size
    density: NDArray[np.float64] = total.numpy()
    mass = density.sum()
    return Measured(
        place,
        weights,
        "given" if given else "random",
        rows,
        density / mass if mass else density,
    )


def _last(output: Any, tensor: type) -> Any:
    while not isinstance(output, tensor):
        output = list(output.values() if isinstance(output, Mapping) else output)[-1]
    return output
