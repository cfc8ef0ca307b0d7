"""The oracles for who reads what: NaN, or a finite change, at one input position of a real model.

Independent of our algebra: a NaN goes through convolutions with zero weights, pools, activations
and resampling, so the outputs that turn NaN are exactly those that read the position. It cannot
see a weight of 0, since NaN times zero is NaN: where weights count, one position is changed by
finite steps in float64, and an output reads it where any step makes a difference.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

import atrous
from atrous import Inspection
from atrous.network.layout import Layout, grid_of


@dataclass(frozen=True)
class Probed:
    """How much a probe compared, and how many of the comparisons it expected not to be read."""

    layers: int
    compared: int
    unread: int
    in_holes: int


def assert_footprints_agree(
    model: torch.nn.Module,
    shape: Sequence[int],
    *,
    report: Inspection | None = None,
    layers: int = 6,
    places: int = 3,
    probes: int = 18,
    batch: int = 6,
    seed: int = 0,
    finite: bool = False,
    alone: bool = False,
    silent: bool = False,
) -> Probed:
    """The footprints of some layers agree with the model at every probed position.

    Probed positions lie inside footprints, in their holes, just outside their boxes, and anywhere.
    With `finite`, they are changed by finite steps, and the model runs in float64. `alone` runs one
    image at a time, for models that mix those of a batch. Where reads may be `silent` (a norm of a
    single number is the same whatever the number), only those that are denied are looked for.
    """
    rng = random.Random(seed)
    model = model.eval().double() if finite else model.eval()
    report = report or atrous.inspect(model, tuple(shape))
    watched = _watched(report, model, layers, rng)
    assert watched, "no layer of the model can be watched"
    masks = {}
    wanted: list[tuple[int, ...]] = []
    for name in watched:
        grid = report.network.tensor(report[name].tensor).grid
        spots = [tuple(n // 2 for n in grid.values()), tuple(0 for _ in grid)]
        spots += [tuple(rng.randrange(n) for n in grid.values()) for _ in range(places)]
        for at in dict.fromkeys(spots):
            foot = report.footprint(name, at)
            masks[name, at] = foot.mask
            wanted += _telling(foot, rng)
    rng.shuffle(wanted)
    grid = report.network.tensor(report.network.inputs[0].name).grid
    anywhere = [tuple(rng.randrange(n) for n in grid.values()) for _ in range(4)]
    chosen = list(dict.fromkeys([*anywhere, *wanted]))[:probes]
    base = _drawn(shape, seed) if finite else _base(model, shape, seed)
    steps = STEPS if finite else (float("nan"),)
    compared = unread = holes = 0
    batch = 1 if alone else batch
    for first in range(0, len(chosen), batch):
        group = chosen[first : first + batch]
        seen = _run(model, base, group, watched, report, steps, alone)
        for (name, at), mask in masks.items():
            for row, position in enumerate(group):
                expected = bool(mask[position])
                actual = bool(seen[name][(row, *at)])
                if silent and expected and not actual:
                    continue
                assert actual == expected, (
                    f"{name} at {at}: the model {'reads' if actual else 'does not read'} input "
                    f"position {position}, the footprint says "
                    f"{'it does' if expected else 'it does not'}"
                )
                compared += 1
                if not expected:
                    unread += 1
                    holes += _inside_box(mask, position)
    return Probed(len(watched), compared, unread, holes)


def assert_reads_by_change(
    model: torch.nn.Module, shape: tuple[int, ...], *, report: Inspection | None = None
) -> Inspection:
    """The footprint of every output position holds just the inputs whose change it shows.

    The model has one input and one output, batch and channels first in both, and runs in float64.
    """
    report = report or atrous.inspect(model, shape)
    assert report.complete, report.opaque
    reads = changed_by(model, shape)
    grid = tuple(report.network.tensor(report.outputs[-1].tensor).grid.values())
    for place, at in enumerate(np.ndindex(*grid)):
        mask = report.footprint(at=at).mask
        actual = reads[:, place].reshape(mask.shape)
        wrong = np.argwhere(mask != actual)
        assert not len(wrong), (
            f"output {at} {'reads' if actual[tuple(wrong[0])] else 'does not read'} input "
            f"{tuple(map(int, wrong[0]))}, the footprint says otherwise"
        )
    return report


STEPS = (0.37, -0.61, 5.0, -7.0)
"""Changes of an input: small and large, up and down, so that no rounding or clipping hides all."""


def _drawn(shape: Sequence[int], seed: int) -> torch.Tensor:
    """An input in float64 in which no two numbers are alike."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn((1, *shape[1:]), generator=generator, dtype=torch.float64)


def changed_by(model: torch.nn.Module, shape: tuple[int, ...]) -> np.ndarray:
    """For each input position, which output positions a finite change reaches, in float64.

    Both are flattened; the first two dimensions are batch and channels. Both runs have the same
    sizes, and what rounding leaves of a weight of 0 is not seen.
    """
    model, base = model.eval().double(), _drawn(shape, 0)
    x = base.repeat(len(STEPS), *[1] * (base.ndim - 1))
    found = []
    with torch.no_grad():
        clean = model(x)
        for index in np.ndindex(*shape[2:]):
            changed = x.clone()
            for row, step in enumerate(STEPS):
                changed[(row, slice(None), *index)] += step
            differs = (model(changed) - clean).abs() > 1e-13 * clean.abs().max()
            found.append(differs.any(dim=0).any(dim=0).flatten().numpy())
    return np.stack(found)


def read_by(model: torch.nn.Module, shape: tuple[int, ...], batch: int = 64) -> np.ndarray:
    """For each input position, which output positions turn NaN; both flattened.

    Of an output, the first two dimensions are batch and channels.
    """
    spatial = shape[2:]
    count = int(np.prod(spatial))
    rows = []
    for first in range(0, count, batch):
        group = range(first, min(first + batch, count))
        x = torch.zeros(len(group), *shape[1:])
        for row, position in enumerate(group):
            x[(row, slice(None), *np.unravel_index(position, spatial))] = float("nan")
        with torch.no_grad():
            y = model(x)
        rows.append(torch.isnan(y).any(dim=1).flatten(1).numpy())
    return np.concatenate(rows)


def _watched(
    report: Inspection, model: torch.nn.Module, count: int, rng: random.Random
) -> list[str]:
    modules = dict(model.named_modules())
    names = [
        layer.name
        for layer in report.layers
        if layer.complete
        and layer.field
        and layer.name in modules
        and isinstance(modules[layer.name], torch.nn.Module)
    ]
    last = names[-1:]
    picked = (
        rng.sample(names[:-1], min(count - len(last), len(names) - 1)) if len(names) > 1 else []
    )
    return [name for name in names if name in {*picked, *last}]


def _on_grid(found: torch.Tensor, layout: Layout, rows: int) -> np.ndarray:
    """NaN by batch row and position on the tensor's grid, whatever dimensions hold the digits.

    The network was read at batch size 1; a larger batch leads the first dimension.
    """
    atoms = [atom for dim in layout for atom in dim]
    array = found.reshape(rows, *(atom.size for atom in atoms))
    order = []
    for axis in grid_of(layout):
        digits = [i for i, atom in enumerate(atoms) if atom.axis == axis]
        order += sorted(digits, key=lambda i: -atoms[i].weight)
    rest = tuple(i + 1 for i, atom in enumerate(atoms) if atom.axis is None)
    array = array.permute(0, *(i + 1 for i in order), *rest)
    if rest:
        array = array.flatten(len(order) + 1).any(dim=-1)
    return array.reshape(rows, *grid_of(layout).values()).numpy()


def _telling(foot: atrous.Footprint, rng: random.Random) -> list[tuple[int, ...]]:
    """Positions that would show a mistake: read ones, holes, and the box's outer faces."""
    if not foot.box.size:
        return []
    found: list[tuple[int, ...]] = []
    read = np.argwhere(foot.box > 0)
    for among in (read, np.argwhere(foot.box == 0)):
        drawn = rng.sample(range(len(among)), min(2, len(among)))
        found += [tuple(int(v) for v in among[index] + foot.origin) for index in drawn]
    middle = [o + n // 2 for o, n in zip(foot.origin, foot.box.shape, strict=True)]
    for axis, (o, n) in enumerate(zip(foot.origin, foot.box.shape, strict=True)):
        found += [
            tuple(edge if i == axis else m for i, m in enumerate(middle))
            for edge in (o - 1, o, o + n - 1, o + n)
            if 0 <= edge < foot.shape[axis]
        ]
    return found


def _base(model: torch.nn.Module, shape: Sequence[int], seed: int) -> torch.Tensor:
    """The input to put NaN into: zeros, or small numbers where the model divides by its input."""
    zeros = torch.zeros(1, *shape[1:])
    with torch.no_grad():
        out = model(zeros)
    values = (
        out.values() if isinstance(out, dict) else out if isinstance(out, list | tuple) else [out]
    )
    if not any(bool(torch.isnan(v).any()) for v in values if isinstance(v, torch.Tensor)):
        return zeros
    return 0.1 * torch.randn(zeros.shape, generator=torch.Generator().manual_seed(seed))


def _run(
    model: torch.nn.Module,
    base: torch.Tensor,
    positions: Sequence[tuple[int, ...]],
    watched: Sequence[str],
    report: Inspection,
    steps: Sequence[float],
    alone: bool,
) -> dict[str, np.ndarray]:
    """For each watched layer, by row of the batch, where an added step shows: as NaN, or at all.

    A change is seen beside a run without it, of the same sizes, so that rows that are alike come
    out alike to the bit; NaN needs none. Unless the positions are to be `alone`, a last row stays
    as it was, and nothing may show there.
    """
    layout = report.network.inputs[0].layout
    x = base.repeat(len(positions) + (not alone), *[1] * (base.ndim - 1))
    clean = _outputs(model, x, watched) if any(step == step for step in steps) else {}
    found: dict[str, np.ndarray] = {}
    for step in steps:
        changed = x.clone()
        for row, position in enumerate(positions):
            changed[(row, *_index(layout, position)[1:])] += step
        for name, made in _outputs(model, changed, watched).items():
            differs = torch.isnan(made) if step != step else made != clean[name]
            seen = _on_grid(differs, report.network.tensor(report[name].tensor).layout, len(x))
            assert alone or not seen[-1].any(), f"{name}: differs without a change of the input"
            found[name] = found.get(name, np.zeros_like(seen)) | seen
    return found


def _index(layout: Layout, position: tuple[int, ...]) -> list[int | slice]:
    """Where a position of an input's grid stands in the tensor: channels are taken whole."""
    places = dict(zip(grid_of(layout), position, strict=True))
    return [places.get(dim[0].axis, slice(None)) if dim else slice(None) for dim in layout]


def _outputs(
    model: torch.nn.Module, x: torch.Tensor, watched: Sequence[str]
) -> dict[str, torch.Tensor]:
    """What the watched modules make when they run first."""
    made: dict[str, torch.Tensor] = {}
    modules = dict(model.named_modules())
    handles = []
    for name in watched:

        def hook(module: object, args: object, output: object, name: str = name) -> None:
            value = output[0] if isinstance(output, list | tuple) else output
            # A copy: what runs in place behind it would change it.
            made.setdefault(name, value.clone())

        handles.append(modules[name].register_forward_hook(hook))
    try:
        with torch.no_grad():
            model(x)
    finally:
        for handle in handles:
            handle.remove()
    return made


def _inside_box(mask: np.ndarray, position: tuple[int, ...]) -> bool:
    for axis in range(mask.ndim):
        along = np.flatnonzero(mask.any(axis=tuple(i for i in range(mask.ndim) if i != axis)))
        if not along.size or not along[0] <= position[axis] <= along[-1]:
            return False
    return True
