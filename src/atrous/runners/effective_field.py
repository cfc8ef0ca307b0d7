"""The measured effective receptive field: how strongly one output depends on each input position.

The analytic one beside it is `Footprint.effective`, which counts paths and knows no weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from atrous.errors import GeometryError, UnsupportedError
from atrous.frameworks.torch import quiet
from atrous.network import Network, Node, Tensor
from atrous.readers.torch.inputs import Examples, examples_for
from atrous.readers.torch.traced import Traced, calls_of
from atrous.runners.torch import Runner, draw_weights

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Measured", "measured_field", "stacked", "with_drawn_weights"]


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """The mean size of the gradient of output position `at` at each input position.

    `density` has the spatial shape of the input that it is measured on and sums to 1, or to 0
    where the output depends on no position; `samples` says over how many inputs.
    """

    at: tuple[int, ...]
    samples: int
    density: NDArray[np.float64] = field(repr=False)


def stacked(rows: Sequence[NDArray[Any]]) -> Any:
    """Arrays as the rows of one tensor."""
    return torch.from_numpy(np.stack(rows))


def with_drawn_weights(model: Any, shapes: Sequence[Sequence[int]], seed: int) -> Any:
    """A copy with every parameter drawn anew and batch norms calibrated; the model stays."""
    runner = Runner(model, None, torch.float)
    draw_weights(runner, shapes, seed)
    return runner.model


def measured_field(
    model: Any,
    input: Any,
    network: Network,
    *,
    node: Node,
    source: str,
    at: Sequence[int] | None = None,
    samples: int = 8,
    seed: int = 0,
    rows: Any = None,
) -> Measured:
    """The effective receptive field of what `node` makes at `at`, by gradients (Luo et al. 2016).

    `network` is that of the model, or exported program, at `input`; `source` the input that the
    gradient is taken of, for which `rows` has samples; without them a given tensor is the one
    sample, and what stands for a shape is drawn from a normal distribution. `at` has an index for
    each axis of the node's output, its middle unless given. The gradient of a random mixture of
    the channels is taken for each sample, and its size summed over the input's channels. Calls are
    run as they were recorded, up to the node. Raises `UnsupportedError` where no gradient is.
    """
    if isinstance(model, torch.export.ExportedProgram):
        program = calls_of(model, input, "the program")
        shapes = tuple(tensor.shape for tensor in network.inputs)
        examples = examples_for(model.module(), shapes if input is None else input, "the program")
    else:
        examples = examples_for(model, input, "the model")
        program = calls_of(model, examples, "the model")
    names = [n.name for n in program.graph.nodes if n.op == "placeholder"]
    names = [name for name in names if name in program.inputs]
    given = dict(zip(names, examples.tensors(), strict=True))
    if not given[source].is_floating_point():
        raise UnsupportedError(
            f"input {source} holds whole numbers, which have no gradient; count paths instead."
        )
    generator = torch.Generator().manual_seed(seed)
    place = _middle_or(node.output, at)
    mask = _elements_at(node.output, place)
    across = _summed(network.tensor(source))
    fixed = rows is None and id(given[source]) not in examples.made
    count = 1 if fixed else samples if rows is None else len(rows)
    wanted = _leading_to(program, node.origin)
    total: Any = 0.0
    for row in range(count):
        values = {name: _filled(t, examples, generator) for name, t in given.items()}
        if rows is not None:
            values[source] = rows[row : row + 1].to(given[source])
        x = values[source].detach().clone().requires_grad_()
        values[source] = x
        output = _replayed(program, wanted, {name: value.clone() for name, value in values.items()})
        output = _made_by(node, output, network)
        mixture = torch.randn(output.shape, generator=generator).to(output) * mask.to(output)
        (gradient,) = _gradient((output * mixture).sum(), x, f"from {node.name} to {source}")
        if not gradient.isfinite().all():
            raise UnsupportedError("its gradient is not finite on this input; draw other weights.")
        total = total + gradient.abs().double().sum(dim=across)
    density: NDArray[np.float64] = total.cpu().numpy()
    mass = density.sum()
    return Measured(place, count, density / mass if mass else density)


def _made_by(node: Node, output: Any, network: Network) -> Any:
    """What a node makes: of a call that makes several tensors, the one that is its own."""
    made = [output] if isinstance(output, torch.Tensor) else list(output)
    alike = [other.name for other in network.nodes if other.origin == node.origin]
    if len(made) > 1 and len(alike) == len(made):
        made = [made[alike.index(node.name)]]
    elif alike[-1] != node.name:
        made = []  # of steps of one call, only the last makes what the call does
    fitting = [t for t in made if isinstance(t, torch.Tensor) and t.shape == node.output.shape]
    found = [t for t in fitting if t.is_floating_point()] or fitting
    if len(found) != 1:
        raise UnsupportedError("it is one step of a call that takes several; name the next layer.")
    return found[0]


def _gradient(value: Any, x: Any, way: str) -> Any:
    if not value.requires_grad:
        raise UnsupportedError(
            f"no gradient leads {way}, as behind rounding or indices; count paths instead."
        )
    try:
        with quiet():
            return torch.autograd.grad(value, x)
    except RuntimeError as error:
        said = str(error).splitlines()[0]
        raise UnsupportedError(f"PyTorch has no gradient of it ({said}); count paths.") from None


def _middle_or(output: Tensor, at: Sequence[int] | None) -> tuple[int, ...]:
    lengths = tuple(output.grid.values())
    place = tuple(n // 2 for n in lengths) if at is None else tuple(at)
    fits = len(place) == len(lengths)
    if not fits or any(not 0 <= p < n for p, n in zip(place, lengths, strict=True)):
        raise GeometryError(
            f"at={place} is not in an output of {lengths}; give one index for each of "
            f"{len(lengths)} axes, counted from 0."
        )
    return place


def _elements_at(output: Tensor, place: tuple[int, ...]) -> Any:
    """True at the elements of a tensor that lie at this position, whatever its dimensions hold."""
    rank = len(output.shape)
    found = torch.ones(output.shape, dtype=torch.bool)
    for axis, wanted in zip(output.grid, place, strict=True):
        position = torch.zeros((1,) * rank, dtype=torch.long)
        for index, dim in enumerate(output.layout):
            inner = output.shape[index]
            for atom in dim:
                inner //= atom.size
                if atom.axis == axis:
                    digit = torch.arange(output.shape[index]) // inner % atom.size * atom.weight
                    shape = [1] * rank
                    shape[index] = -1
                    position = position + digit.reshape(shape)
        found = found & (position == wanted)
    return found


def _summed(source: Tensor) -> tuple[int, ...]:
    """The dimensions of an input that hold no positions; the others are its axes in order."""
    axes = [dim[0].axis for dim in source.layout if len(dim) == 1 and dim[0].axis is not None]
    if axes != list(source.grid):
        raise UnsupportedError(f"input {source.name} has dimensions that are parts of axes.")
    return tuple(i for i, dim in enumerate(source.layout) if not dim or dim[0].axis is None)


def _filled(tensor: Any, examples: Examples, generator: Any) -> Any:
    if id(tensor) not in examples.made:
        return tensor
    if not tensor.is_floating_point():
        return torch.zeros_like(tensor)
    return torch.randn(tensor.shape, generator=generator).to(tensor)


def _leading_to(program: Traced, origin: str) -> list[Any]:
    """The nodes of a graph that lead to one of them, in order, itself the last."""
    order = list(program.graph.nodes)
    last = next((node for node in order if origin and node.name == origin), None)
    if last is None:
        raise UnsupportedError("no call of the model made it; name the layer behind it.")
    needed, left = {last}, [last]
    while left:
        for node in left.pop().all_input_nodes:
            if node not in needed:
                needed.add(node)
                left.append(node)
    return [node for node in order if node in needed]


def _replayed(program: Traced, calls: Sequence[Any], given: Mapping[str, Any]) -> Any:
    """What the last of these calls makes."""
    made: dict[Any, Any] = {}
    with quiet():
        for node in calls:
            if node.op == "placeholder" and node.name in given:
                made[node] = given[node.name]
            elif node.op == "placeholder":
                held = program.stored[node.name][1].detach()
                # What was made in inference mode cannot be saved for a gradient.
                made[node] = held.clone() if held.is_inference() else held
            elif node.op == "get_attr":
                made[node] = getattr(program.owner, node.target)
            else:
                args = torch.fx.node.map_arg(node.args, made.__getitem__)
                kwargs = torch.fx.node.map_arg(dict(node.kwargs), made.__getitem__)
                try:
                    made[node] = node.target(*args, **kwargs)
                except Exception as error:
                    said = (str(error).splitlines() or [type(error).__name__])[0]
                    raise UnsupportedError(f"{node.name} does not run again: {said}") from error
    return made[calls[-1]]
