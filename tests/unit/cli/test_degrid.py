"""The command `atrous degrid`: what it prints, writes and refuses."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import torch
from torch import nn

import atrous as library
from tests.command import atrous
from tests.exporting import export

STACK = "stack:k3d2 k3d2 k3d2"


def test_degrid_prints_what_changes_that_it_is_not_equal_and_the_diff() -> None:
    result = atrous("degrid", STACK, "--input", "1,8,64,64")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == str(library.degrid(STACK, (1, 8, 64, 64))) + "\n"
    assert "computes something else" in " ".join(result.stdout.split())
    assert "conv3: dilation 2 -> 1, padding 2 -> 1" in result.stdout


def test_degrid_prints_json_under_its_schema() -> None:
    result = atrous("degrid", STACK, "--input", "1,8,64,64", "--method", "tail", "--json")
    data = json.loads(result.stdout)
    assert (data["schema"], data["method"]) == ("atrous.degridding/1", "tail")
    assert data["trained_again"] is True
    assert [grid["taps"] for grid in data["grids"]["after"]] == [15, 15]
    assert data["inserted"]["rates"] == [1]


def test_degrid_writes_a_file_whose_rates_are_those_of_the_diff(tmp_path: Path) -> None:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 3, 3, padding=2, dilation=2) for _ in range(3)]
    source = export(
        nn.Sequential(*layers), torch.rand(1, 3, 32, 32), tmp_path / "a.onnx", external_data=False
    )
    target = tmp_path / "b.onnx"
    result = atrous("degrid", str(source), "--out", str(target))
    assert result.returncode == 0, result.stderr
    rates = [
        tuple(attribute.ints)
        for node in onnx.load(target).graph.node
        for attribute in node.attribute
        if attribute.name == "dilations"
    ]
    assert rates == [(2, 2), (3, 3), (1, 1)]
    field = library.inspect(target).outputs[0].field[0]
    assert (field.size, field.coverage) == (13, 1.0)


def test_degrid_says_in_one_line_why_no_rates_do_it() -> None:
    result = atrous("degrid", "stack:k1s2 k3d2 k3d2", "--input", "1,8,64,64")
    assert result.returncode == 2
    assert result.stdout == ""
    assert "conv1 reads with kernel 1 and stride 2" in result.stderr
    assert result.stderr.count("\n") == 1
    assert atrous("degrid", STACK, "--method", "both").returncode == 2
