"""What a bench is asked for on its command line."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from bench.shared import asked

PEERS = ["atrous", "atrous, all engines", "PyTorch", "PyTorch, channels last", "ONNX Runtime"]


@pytest.mark.parametrize(
    ("given", "chosen"),
    [("atrous", PEERS[:1]), ("atro", PEERS[:2]), ("pytorch,channels", PEERS[2:4]),
     ("atrous,onnx", [PEERS[0], PEERS[4]]), ("", PEERS)],
)  # fmt: skip
def test_a_whole_name_takes_that_contestant_alone(given, chosen, monkeypatch):
    monkeypatch.setattr(asked, "use_threads", lambda _: 1)
    monkeypatch.setattr(sys, "argv", ["run.py", "--peers", given])
    assert asked.asked_for("A bench.", "models", PEERS, Path("results.json")).peers == chosen
