"""Taps whose weight is 0: named in every form of a report, and left to structure where asked."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

import atrous
from atrous.network.walk import structural
from tests.command import atrous as run


def _blind(**options: object) -> nn.Conv2d:
    conv = nn.Conv2d(2, 2, 3, padding=1, **options)  # type: ignore[arg-type]
    with torch.no_grad():
        conv.weight[:, :, 1, 1] = 0
    return conv


@pytest.fixture(name="net")
def net_() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(_blind(), nn.ReLU(), nn.Conv2d(2, 2, 3, padding=1))


def test_a_blind_spot_is_named_in_text_json_and_findings(net: nn.Module) -> None:
    report = atrous.inspect(net, (1, 2, 9, 9))
    assert report["0"].unread_taps == ((1, 1),)
    assert report["0"].detail == "k3 p1 8/9 taps"
    found = [f for f in report.findings if f.code == "zero-taps"]
    assert [(f.layer, f.severity) for f in found] == [("0", "info")]
    assert "0 for all channels at 1 of its 9 taps" in found[0].message
    assert "count in its MACs" in found[0].message
    layers = report.to_dict()["layers"]
    assert [layer["unread_taps"] for layer in layers] == [[[1, 1]], [], []]  # type: ignore[union-attr]
    assert "1 of its 9 taps" in " ".join(str(report).split())


def test_costs_count_all_taps_and_the_structure_reads_them(net: nn.Module) -> None:
    masked = atrous.inspect(net, (1, 2, 9, 9))
    whole = atrous.inspect(net, (1, 2, 9, 9), structure_only=True)
    assert (masked.macs, masked.params) == (whole.macs, whole.params)
    assert masked["0"].bytes_moved == whole["0"].bytes_moved
    assert masked.peak_memory_bytes == whole.peak_memory_bytes
    assert (masked.footprint("0").taps, whole.footprint("0").taps) == (8, 9)
    assert not whole["0"].unread_taps
    assert not [f for f in whole.findings if f.code == "zero-taps"]
    assert structural(masked.network) == whole.network


def test_a_network_that_was_read_can_be_looked_at_by_its_structure(net: nn.Module) -> None:
    network = atrous.read(net, (1, 2, 9, 9))
    assert atrous.inspect(network).footprint("0").taps == 8
    assert atrous.inspect(network, structure_only=True).footprint("0").taps == 9
    table = atrous.compare({"net": network}, input=(1, 2, 9, 9), structure_only=True)
    assert len(table) == 1


def test_a_weight_of_nothing_but_zeros_is_read_as_its_structure() -> None:
    conv, last = nn.Conv1d(2, 2, 3, padding=1), nn.Conv1d(2, 2, 1)
    nn.init.zeros_(conv.weight)
    nn.init.zeros_(last.weight)
    report = atrous.inspect(nn.Sequential(conv, last), (1, 2, 9))
    assert report.outputs[0].field[0].size == 3
    assert not report["0"].unread_taps
    (note,) = report.network.notes
    assert "0 throughout" in note
    assert note.endswith("read whole: 0, 1")


def test_a_tap_that_one_channel_of_one_group_has_is_read() -> None:
    conv = nn.Conv1d(4, 4, 5, groups=4)
    with torch.no_grad():
        conv.weight.zero_()
        conv.weight[2, 0, 1] = 1e-30
        conv.weight[3, 0, 4] = float("nan")
    report = atrous.inspect(conv, (1, 4, 9))
    assert report.layers[0].unread_taps == ((0,), (2,), (3,))
    assert list(report.network.nodes[0].moves[0]["t"].at(0)) == [1, 4]


def test_weights_that_nothing_holds_count_as_structure() -> None:
    conv = nn.Conv1d(2, 2, 3, device="meta")
    assert atrous.inspect(conv, (1, 2, 9)).outputs[0].field[0].taps == 3


def test_a_strided_window_reads_the_share_that_its_taps_leave(net: nn.Module) -> None:
    conv = nn.Conv2d(1, 1, 3, stride=2, padding=1)
    with torch.no_grad():
        conv.weight[:, :, 0], conv.weight[:, :, 2] = 0, 0
    report = atrous.inspect(conv, (1, 1, 8, 8))
    narrow = [f for f in report.findings if f.code == "narrow-window"]
    assert ["reads 50% of its input" in finding.message for finding in narrow] == [True]
    whole = atrous.inspect(conv, (1, 1, 8, 8), structure_only=True)
    assert not [f for f in whole.findings if f.code == "narrow-window"]


def test_conversions_go_by_the_structure_and_keep_the_zeros() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(_blind(stride=2), nn.ReLU(), _blind(), _blind(stride=2), _blind())
    made = atrous.convert(net, 1, input=(1, 2, 16, 16))
    assert made.certificate.verdict == "exact"
    before = atrous.inspect(net, (1, 2, 16, 16)).outputs[0].field
    after = atrous.inspect(made.model, (1, 2, 16, 16)).outputs[0].field
    assert [axis.size for axis in before] == [axis.size for axis in after]
    network = atrous.convert(atrous.read(net, (1, 2, 16, 16)), 1)
    assert network.certificate.verdict == "exact"


def test_the_command_takes_structure_only(tmp_path: Path) -> None:
    code = tmp_path / "made.py"
    code.write_text(
        """
import torch
from torch import nn

def net():
    conv = nn.Conv1d(1, 1, 5)
    torch.nn.init.ones_(conv.weight)
    conv.weight.data[:, :, 3:] = 0
    return conv, (1, 1, 20)
""",
        encoding="utf-8",
    )
    source = f"{code}:net"
    size = {}
    for option in ([], ["--structure-only"]):
        made = json.loads(run("inspect", source, "--json", *option).stdout)
        size[bool(option)] = made["outputs"][0]["field"][0]["size"]
        kept = run("check", source, "--receptive-field", "==3", *option)
        assert kept.returncode == len(option)
        assert run("compare", f"{source}", *option).returncode == 0
    assert size == {False: 3, True: 5}
    assert (
        "2 taps, where the weight is 0 for all channels: 3, 4"
        in run("inspect", source, "--layer", "conv1d").stdout
    )
