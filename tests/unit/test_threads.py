"""Many threads at once: the same answers as one after another, and nothing left changed."""

from __future__ import annotations

import json
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

import atrous
from atrous.optimization.layer.cache import Choices
from tests.processes import run_python

THREADS = 6

# In a process of its own, so that all that is made at the first use is made by threads at once.
FIRST_USES = """
import hashlib, sys, threading
from concurrent.futures import ThreadPoolExecutor
import numpy as np
import atrous
sys.setswitchinterval(1e-5)
x, w = np.linspace(0, 1, 2048, dtype=np.float32).reshape(1, 2, 32, 32), np.ones((2, 1, 3, 3), "f")
start = threading.Barrier(9)

def told(kind):
    report = atrous.inspect("stack:k3s2 [k3d2 | k3] k3d4", (1, 2, 33, 33))
    made = {
        "text": lambda: str(report),
        "json": report.to_json,
        "html": report._repr_html_,
        "graph": report.graph,
        "conv": lambda: atrous.conv(x, w, padding=2, dilation=2, groups=2).tobytes().hex(),
        "compare": lambda: str(atrous.compare({"a": "k3", "b": "k3d2"}, input=(1, 2, 33, 33))),
        "rates": lambda: str(report.findings),
        "footprint": lambda: str(report.footprint()),
        "page": lambda: atrous.shown.view(report).page(),
    }
    return hashlib.sha256(str(made[kind]()).encode()).hexdigest()

kinds = ["text", "json", "html", "graph", "conv", "compare", "rates", "footprint", "page"]

def at_once(kind):
    start.wait()
    return told(kind)

with ThreadPoolExecutor(9) as pool:
    together = list(pool.map(at_once, kinds))
print(together == [told(kind) for kind in kinds])
"""


@contextmanager
def _switching() -> Iterator[None]:
    """Threads take turns a hundred times as often."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


def _at_once(call: Callable[[int], Any], threads: int = THREADS) -> list[Any]:
    start = threading.Barrier(threads)

    def run(place: int) -> Any:
        start.wait()
        return call(place)

    with _switching(), ThreadPoolExecutor(threads) as pool:
        return list(pool.map(run, range(threads)))


def test_first_uses_by_many_threads_answer_as_later_ones_do() -> None:
    ran = run_python(FIRST_USES)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.strip() == "True"


def test_one_model_read_by_many_threads_keeps_its_mode_and_the_warnings_their_filters() -> None:
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Dropout().eval(), nn.BatchNorm2d(4)).train()
    modes = [part.training for part in model.modules()]
    expected = atrous.inspect(model, (1, 1, 16, 16)).to_json()
    filters = list(warnings.filters)
    fast = torch.backends.mha.get_fastpath_enabled()
    told = _at_once(lambda _: atrous.inspect(model, (1, 1, 16, 16)).to_json())
    assert set(told) == {expected}
    assert [part.training for part in model.modules()] == modes
    assert warnings.filters == filters
    assert torch.backends.mha.get_fastpath_enabled() == fast


def test_choices_written_at_once_are_all_kept(tmp_path: Path) -> None:
    path = tmp_path / "choices.json"

    def write(place: int) -> None:
        own = Choices(path)
        for turn in range(5):
            own.put(f"{place}-{turn}", {"taps": 1.0})
            own.save()
            json.loads(path.read_text(encoding="utf-8"))

    _at_once(write)
    last = Choices(path)
    assert all(last.get(f"{place}-{turn}") for place in range(THREADS) for turn in range(5))
