"""`atrous convert --resample`: what it prints, and how it refuses."""

from __future__ import annotations

import json

import pytest

from tests.command import assert_refuses, atrous

MODEL = """
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.one = nn.Conv2d(3, 4, 3, 2, 1)
        self.two = nn.Conv2d(4, 4, 3, 2, 1)
        self.up = nn.Upsample(scale_factor=2)

    def forward(self, x):
        one = self.one(x)
        return self.up(self.two(one)) + one


def net():
    return Net()
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "models.py").write_text(MODEL)
    return tmp_path


def test_a_join_that_no_longer_fits_is_refused_with_the_way_out(folder):
    arguments = ("convert", "models.py:net", "-s", "2", "--input", "1,3,32,32")
    assert_refuses(*arguments, says=["add: its inputs no longer fit", "resample"], cwd=folder)


def test_a_join_is_resampled_where_that_is_asked(folder):
    arguments = ("convert", "models.py:net", "-s", "2", "--input", "1,3,32,32", "--resample")
    result = atrous(*arguments, "--json", cwd=folder)
    assert result.returncode == 0, result.stderr
    data = json.loads(result.stdout)
    assert data["certificate"]["verdict"] == "approximate"
    assert data["certificate"]["agrees"]
    assert {
        "layer": "add",
        "attribute": "resample",
        "before": None,
        "after": "bilinear to the size of one",
    } in data["edits"]
    shown = atrous(*arguments, cwd=folder).stdout
    assert "add: resample none -> bilinear to the size of one" in shown
