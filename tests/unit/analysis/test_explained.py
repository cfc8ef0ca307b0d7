"""`explain`: what each layer adds, by the laws of the stacks that it is asked about."""

from __future__ import annotations

import json
import random

import pytest
import torch

import atrous
from atrous.errors import ReadError
from atrous.geometry import tail_factors
from atrous.optimization.module import Optimized
from atrous.optimization.records import Explanation
from tests.command import atrous as command

SHAPE = (1, 4, 96, 96)


def drawn(seed: int) -> list[int]:
    rng = random.Random(seed)
    return [rng.choice([1, 1, 2, 2, 3, 4, 6]) for _ in range(rng.randrange(1, 6))]


@pytest.mark.parametrize("seed", range(40))
def test_what_the_layers_of_a_chain_add_is_its_field_and_each_grid_is_a_tail_factor(
    seed: int,
) -> None:
    rates = drawn(seed)
    told = atrous.explain("stack:" + " ".join(f"k3d{rate}" for rate in rates), SHAPE)
    axes = [one.axes[0] for one in told]
    assert [axis.added for axis in axes] == [2 * rate for rate in rates]
    assert 1 + sum(axis.added for axis in axes) == told.report.outputs[0].field[0].size
    grids = [axis.grid for axis in axes]
    met = tail_factors(rates)
    # A last dilated layer alone is on its grid as well: here every layer counts.
    assert grids == list(met)
    assert sum(one.share for one in told) == pytest.approx(1)
    assert [one.macs for one in told] == [layer.macs for layer in told.report.layers]
    assert max(one.alive_bytes for one in told) == told.report.memory.peak_bytes


@pytest.mark.parametrize("seed", range(40))
def test_a_layer_opens_and_closes_holes_as_the_stack_up_to_it_reads(seed: int) -> None:
    rates = drawn(100 + seed)
    words = [f"k3d{rate}" for rate in rates]
    told = atrous.explain("stack:" + " ".join(words), SHAPE)
    whole = True
    for end, one in enumerate(told, start=1):
        field = atrous.inspect("stack:" + " ".join(words[:end]), SHAPE).outputs[0].field[0]
        axis = one.axes[0]
        assert (axis.size[1], axis.taps[1], axis.max_gap[1]) == (
            field.size, field.taps, field.max_gap
        )  # fmt: skip
        now = field.coverage == 1
        names = {(True, True): "none", (True, False): "opens", (False, True): "closes"}
        assert axis.holes == names.get((whole, now), "keeps")
        whole = now
    assert bool(told.opened) is not whole


def test_at_a_join_the_widest_operand_stands_before() -> None:
    told = atrous.explain("stack:k3 [k3d2 | k3d4] k1", SHAPE)
    join = told["concat4"].axes[0]
    assert (join.size, join.taps) == ((11, 11), (9, 11))
    assert join.holes == "closes"
    assert told["conv5"].axes[0].added == 0


def test_the_command_prints_the_table_and_json_under_its_schema() -> None:
    result = command("explain", "stack:k3d2 k3d2 k3", "--input", "1,4,96,96")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == str(atrous.explain("stack:k3d2 k3d2 k3", SHAPE)) + "\n"
    [last] = [line for line in result.stdout.splitlines() if line.startswith("conv3  ")]
    assert last.split()[6:9] == ["100%", "closes", "1"]
    data = json.loads(command("explain", "stack:k3d2 k3", "-i", "1,4,96,96", "--json").stdout)
    assert data["schema"] == "atrous.explained/1"
    assert [one["axes"][0]["holes"] for one in data["layers"]] == ["opens", "closes"]


def test_what_optimize_chose_is_asked_of_its_result() -> None:
    model = torch.nn.Sequential(torch.nn.Conv2d(1, 1, 3, padding=1))
    fast = Optimized(model, {}, Explanation.__new__(Explanation))
    with pytest.raises(ReadError, match=r"call its \.explain\(\).*give input="):
        atrous.explain(fast)
    told, plain = (atrous.explain(one, (1, 1, 9, 9)) for one in (fast, model))
    assert [layer.axes for layer in told] == [layer.axes for layer in plain]
