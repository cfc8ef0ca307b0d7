"""The command: `inspect --training`, and the rule of `check` on it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.command import assert_refuses, atrous

CODE = """
import torch

def net():
    inner = torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8), torch.nn.ReLU(inplace=True)
    return torch.nn.Sequential(*inner), (4, 3, 18, 18)
"""


@pytest.fixture
def source(tmp_path: Path) -> str:
    (tmp_path / "net.py").write_text(CODE)
    return f"{tmp_path / 'net.py'}:net"


def test_inspect_says_the_memory_of_training_and_the_largest_batch(source: str) -> None:
    shown = atrous("inspect", source, "--training", "adamw", "--budget", "1MiB")
    assert "training memory" in shown.stdout
    assert "largest batch in 1.00 MiB" in shown.stdout
    plain = json.loads(atrous("inspect", source, "--training", "adamw", "--json").stdout)
    found = plain["memory"]["training"]
    assert found["schema"] == "atrous.training/1"
    assert found["optimizer"] == "adamw"
    assert found["batch"]["batches"] == [4, 8, 12]


def test_check_holds_it_against_a_limit_with_sgd_unless_said(source: str) -> None:
    kept = atrous("check", source, "--training-memory", "<=1MB", "--training", "adam")
    assert kept.returncode == 0
    assert "with adam" in kept.stdout
    broken = atrous("check", source, "--training-memory", "<=1kB")
    assert broken.returncode == 1
    assert "with sgd" in broken.stdout


def test_a_project_asks_for_it_by_the_same_words(source: str, tmp_path: Path) -> None:
    config = tmp_path / "pyproject.toml"
    rule = f'[tool.atrous]\nsource = "{source}"\ntraining = "adam"\ntraining-memory = "<=1MB"\n'
    config.write_text(rule)
    found = atrous("check", "--config", str(config))
    assert found.returncode == 0
    assert "with adam" in found.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--budget", "8GiB"], "--training"),
        (["--training", "adamm"], "near: adam"),
        (["--training", "sgd", "--budget", "8"], "--budget 8 is no size of memory"),
    ],
)
def test_what_does_not_fit_is_one_line(source: str, arguments: list[str], message: str) -> None:
    assert_refuses("inspect", source, *arguments, says=message)
