"""Random networks by tiles: what the whole image gives, or a refusal; halos end where reads end."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass

import pytest
import torch
from torch import nn

import atrous
from atrous.plan.regions import Needs, needs
from atrous.runners.tiled.tiled import Tiled
from atrous.verbs.tile import Planner
from tests.property.drawn_models import drawn_model


@dataclass(frozen=True)
class Case:
    model: nn.Module
    image: torch.Tensor
    whole: torch.Tensor
    planner: Planner
    said: str


def drawn_case(seed: int, rank: int) -> Case:
    """A random model with an image a few times its drawn size, of which a tile is a small part."""
    rng = random.Random(97 * seed + rank)
    found = drawn_model(seed, rank)
    more = (rng.randint(60, 160), rng.randint(30, 50), 12)[rank - 1]
    shape = (*found.shape[:2], *(size + more - axis for axis, size in enumerate(found.shape[2:])))
    generator = torch.Generator().manual_seed(seed)
    image = torch.randn(shape, generator=generator, dtype=torch.double)
    model = found.model.double()
    with torch.no_grad():
        whole = model(image.clone())  # a first layer may work in place
    tile = tuple(rng.randint(5, 25) for _ in range(rank))
    said = f"seed {seed}, rank {rank}: {'; '.join(found.said)}; tiles {tile} of {shape}"
    return Case(model, image, whole, Planner(model, tile=tile), said)


def tried(case: Case) -> str:
    """What came of a case: "exact" by tiles, "refused", "whole" where one tile has it all."""
    try:
        plan = case.planner.plan((tuple(case.image.shape),))
        if len(plan) == 1:
            return "whole"
        found = Tiled(case.planner, case.planner.engine)(case.image)
    except atrous.UnsupportedError:
        return "refused"
    far = float((found - case.whole).abs().max())
    assert far <= 1e-12 * float(case.whole.abs().max()), case.said
    return "exact"


@pytest.mark.parametrize(("rank", "seeds"), [(1, 30), (2, 10), (3, 3)])
def test_random_networks_by_tiles_give_what_the_whole_image_gives(rank: int, seeds: int) -> None:
    counts = Counter(tried(drawn_case(seed, rank)) for seed in range(seeds))
    assert counts["exact"] >= seeds // 3, counts


def knows(case: Case, kept: tuple[slice, ...], lost: slice) -> bool:
    """Whether what a tile keeps depends on a stretch of the image."""
    image = case.image.clone()
    image[..., lost] = torch.nan
    with torch.no_grad():
        return bool(case.model(image)[kept].isnan().any())


def test_halos_hold_all_that_is_read_and_begin_and_end_with_what_is_read() -> None:
    sides = 0
    for seed in range(60):
        case = drawn_case(seed, 1)
        shape = tuple(case.image.shape)
        try:
            plan = case.planner.plan((shape,))
        except atrous.UnsupportedError:
            continue
        (axis,) = plan.axes
        for index in {0, len(plan) // 2, len(plan) - 1} if len(plan) > 1 else ():
            tile = plan.tile(index)
            start, stop = index * axis.step - axis.halo[0], (index + 1) * axis.step + axis.halo[1]
            read, kept = tile.read[0][-1], tile.keep[0].target
            assert read.start <= max(start, 0), case.said
            for lost in (slice(0, max(start, 0)), slice(0, read.start)):
                assert not knows(case, kept, lost), case.said
            for lost in (slice(min(max(stop, 1), shape[-1]), None), slice(read.stop, None)):
                assert not knows(case, kept, lost), case.said
        # One less on either side, of a tile that touches no end, is not enough.
        network = case.planner.network((shape,))
        asked = needs(network, axis.axis, axis.cell(len(plan) // 2).keep)
        assert isinstance(asked, Needs)
        need = asked.stretches[network.inputs[0].name]
        if len(plan) > 1 and need.start > 0 and need.stop < shape[-1]:
            kept = plan.tile(len(plan) // 2).keep[0].target
            assert knows(case, kept, slice(need.start, need.start + 1)), case.said
            assert knows(case, kept, slice(need.stop - 1, need.stop)), case.said
            sides += 2
    assert sides >= 30
