"""Rules that count from an earlier network: what is held against what, and what is not known."""

from __future__ import annotations

import torch
from torch import nn

import atrous
from atrous.analysis.check import check_report
from atrous.analysis.requirements import parse_rules
from atrous.network import Builder
from atrous.network.ops import Opaque
from atrous.report import CheckView
from tests.command import atrous as run

FIELDS = (1, 1, 32, 32)


class Levels(nn.Module):
    """Two levels whose rows lie end to end, as in a detector's head."""

    def __init__(self, kernel: int = 3) -> None:
        super().__init__()
        self.fine = nn.Conv2d(1, 2, kernel, 2, kernel // 2)
        self.coarse = nn.Conv2d(2, 2, 3, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        fine = self.fine(x)
        return torch.cat([fine.flatten(2), self.coarse(fine).flatten(2)], 2)


class Gated(nn.Module):
    """A convolution whose results are scaled by their mean over all positions."""

    def __init__(self, kernel: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 2, kernel, 1, kernel // 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        made: torch.Tensor = self.conv(x)
        return made * made.mean((2, 3), keepdim=True).sigmoid()


def holding(new, old, quantity: str, *texts: str) -> list[bool]:
    parsed = [rule for text in texts for rule in parse_rules(quantity, text)]
    return [bool(check_report(new, [rule], baseline=old)) for rule in parsed]


def two(*outputs: str):
    """Two outputs, one of kernel 3, one of kernel 7 and stride 2, in this order."""
    b = Builder("two")
    x = b.input("x", FIELDS)
    made = {
        "small": b.conv(x, 2, 3, padding=1, name="small"),
        "large": b.conv(x, 2, 7, stride=2, padding=3, name="large"),
    }
    return atrous.inspect(b.build(*(made[name] for name in outputs)))


def test_outputs_in_another_order_are_held_against_their_namesakes():
    old = two("large", "small")
    for quantity in ("receptive-field", "output-stride", "coverage"):
        assert holding(two("small", "large"), old, quantity, "==+0") == [True]
    for name in ("small", "large"):
        assert check_report(two(name), parse_rules("receptive-field", "==+0"), baseline=old)
    rules = parse_rules("receptive-field", "==+0")
    kept = check_report(two("large", "small"), rules, baseline=two("small"))
    assert [(o.layer, o.holds) for o in kept.outcomes if o.axis == "h"] == [
        ("large", False),
        ("small", True),
    ]


def test_rows_that_lie_end_to_end_are_held_against_the_same_rows():
    old, new = (atrous.inspect(Levels(kernel), FIELDS) for kernel in (3, 5))
    for quantity in ("receptive-field", "output-stride", "coverage"):
        assert holding(old, old, quantity, "==+0") == [True]
    assert holding(new, old, "receptive-field", "==+2", "<=+1") == [True, False]
    shown = CheckView(check_report(old, parse_rules("receptive-field", "<=+0"), baseline=old))
    assert "receptive-field 3 to 7 <= baseline +0" in shown.text()
    # Other rows than the baseline's have nothing to be held against.
    one = atrous.inspect(Levels().fine, FIELDS)
    assert holding(new, one, "output-stride", ">=+0", "<=+0") == [False, False]


def test_a_baseline_that_sees_all_positions_is_no_limit_that_a_local_field_reaches():
    small, local = (atrous.inspect(nn.Conv2d(1, 2, k, 1, k // 2), FIELDS) for k in (3, 5))
    whole = atrous.inspect(Gated(5), FIELDS)
    signs = (">=+0", "==+0", ">+0", "!=+0", "<=+0", "<+0")
    assert holding(local, whole, "receptive-field", *signs) == [False] * 4 + [True, False]
    assert holding(small, whole, "receptive-field", *signs) == [False] * 4 + [True, True]
    assert holding(whole, whole, "receptive-field", ">=+0", "==+0") == [True, True]
    assert holding(local, whole, "output-stride", ">=+0") == [True]
    shown = CheckView(check_report(local, parse_rules("receptive-field", ">=+0"), baseline=whole))
    assert "its mean sees all positions" in shown.text()


def test_a_baseline_that_is_not_known_says_behind_what():
    b = Builder("sorted")
    y = b.add(Opaque("sort", "its order", (1, 2, 32, 32)), b.input("x", FIELDS), name="sort")
    unknown, local = atrous.inspect(b.build(y)), two("small")
    shown = CheckView(check_report(local, parse_rules("receptive-field", "<=+9"), baseline=unknown))
    assert "the baseline's is not known behind sort" in shown.text()
    assert holding(local, unknown, "macs", "<=+9G", ">=+0") == [False, False]


class Held(nn.Module):
    """Convolutions whose maps a list holds to the end, which a graph need not."""

    def __init__(self) -> None:
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(1, 1, 1) for _ in range(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        made = [x]
        for conv in self.convs:
            made.append(conv(made[-1]))
        return made[-1]


def test_a_run_and_a_graph_are_held_against_each_other_by_their_graphs():
    run_of, graph = atrous.inspect(Held(), FIELDS), atrous.inspect("stack:k1 k1 k1 k1", FIELDS)
    assert run_of.peak_memory_bytes > graph.peak_memory_bytes == run_of.memory.peak_bytes
    assert holding(run_of, graph, "memory", "<=+0B", "==+0%") == [True, True]
    assert holding(graph, run_of, "memory", "<=-1B", "==+0%") == [False, True]
    assert holding(run_of, run_of, "memory", "==+0%") == [True]
    limit = parse_rules("memory", "==+0%")
    assert "both by the graph" in CheckView(check_report(graph, limit, baseline=run_of)).text()


def test_axes_with_limits_of_their_own_are_told_apart_and_near_limits_in_all_digits():
    new, old = (atrous.inspect(f"stack:k({h},{w})", FIELDS) for h, w in ((5, 5), (1, 3)))
    shown = CheckView(check_report(new, parse_rules("receptive-field", "<=+1"), baseline=old), "n")
    assert shown.text().splitlines() == [
        "n: receptive-field at conv1 along h is 5, must be <= 2 (baseline +1)",
        "n: receptive-field at conv1 along w is 5, must be <= 4 (baseline +1)",
    ]
    near = [r for r in ("macs <=-1", "memory <-1B", "coverage <-1/1000") for r in _rules(r)]
    assert CheckView(check_report(new, near, baseline=new), "n").text().splitlines() == [
        "n: macs is 25.6 k (25,600), must be <= 25,599 (baseline -1)",
        "n: memory is 8.00 KiB (8,192 B), must be < 8,191 B (baseline -1B)",
        "n: coverage at conv1 along h, w is 100% (1), must be < 99.9% (baseline -1/1000)",
    ]


def _rules(text: str):
    return parse_rules(*text.split(" "))


def test_an_option_that_is_given_twice_asks_for_both_rules():
    given = ["stack:k3", "-i", "1,1,32,32", "--macs", "<=1", "--macs", ">=1k"]
    result = run("check", *given)
    assert result.returncode == 1
    assert "macs is 9.22 k (9,216), must be <= 1" in result.stdout
    assert "macs 9.22 k >= 1k" in result.stdout
