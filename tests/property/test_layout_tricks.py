"""Random graphs of layout tricks: what each output reads, against the graph run with changes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import atrous
from atrous.analysis import inspect_network
from atrous.readers.onnx.reader import read_onnx
from tests.onnx_probe import model, session
from tests.property.drawn_layouts import DrawnGraph, drawn_graph, onnx_names, onnx_of
from tests.property.layout_oracle import disagreement

# A bounded sample; `python -m tests.property.layout_search onnx 0 5000` goes further.
IN_TORCH = range(12)
IN_ONNX = range(140)


def _in_onnx(seed: int) -> tuple[DrawnGraph, atrous.Inspection, str]:
    graph = drawn_graph(seed, names=onnx_names())
    written = onnx_of(graph)
    proto = model(written.nodes, {"x": graph.shape}, written.constants)
    report = inspect_network(read_onnx(proto, None))
    runner = session(proto)

    def run(x: np.ndarray) -> np.ndarray:
        made: np.ndarray = runner.run(None, {"x": x.astype(np.float32)})[0]
        return made

    if any(node.opaque for node in report.network.nodes):
        return graph, report, ""
    return graph, report, disagreement(report, run, folds=graph.folds, seed=seed)


def test_graphs_in_onnx_read_what_they_say_or_say_what_is_not_known() -> None:
    followed = 0
    for seed in IN_ONNX:
        graph, report, wrong = _in_onnx(seed)
        assert not wrong, f"seed {seed}: {wrong}: {graph.steps}"
        followed += not any(node.opaque for node in report.network.nodes)
    assert followed > 0.7 * len(IN_ONNX)


@pytest.mark.parametrize("seed", IN_TORCH)
def test_graphs_in_torch_read_what_they_say_or_say_what_is_not_known(seed: int) -> None:
    graph = drawn_graph(seed)
    report = atrous.inspect(graph.module(), graph.shape)
    if any(node.opaque for node in report.network.nodes):
        return

    def run(x: np.ndarray) -> np.ndarray:
        made: np.ndarray = graph.run(torch.as_tensor(x)).numpy()
        return made

    wrong = disagreement(report, run, folds=graph.folds, seed=seed)
    assert not wrong, f"{wrong}: {graph.steps}"


def test_a_wrong_footprint_is_noticed() -> None:
    graph = drawn_graph(1, depth=1, names=["conv"])
    report = atrous.inspect(graph.module(), graph.shape)

    def run(x: np.ndarray, shift: int = 1) -> np.ndarray:
        made: np.ndarray = graph.run(torch.as_tensor(np.roll(x, shift, -1))).numpy()
        return made

    assert disagreement(report, run, folds=graph.folds)
    assert not disagreement(report, lambda x: run(x, 0), folds=graph.folds)


# Graphs that a search found wrong, by what was wrong with them.
FOUND = {
    "a mean of the high digits added back": (32, 6),
    "one digit of an axis widened": (201, 6),
    "windows whose halves are added, widened": (787, 6),
    "a mean laid behind and cut off again": (3155, 6),
}


@pytest.mark.parametrize("name", FOUND)
def test_what_was_wrong_is_right(name: str) -> None:
    seed, depth = FOUND[name]
    del depth
    graph, _, wrong = _in_onnx(seed)
    assert not wrong, graph.steps
