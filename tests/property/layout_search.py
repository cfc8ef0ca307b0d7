"""Searches random graphs of layout tricks for a wrong answer: `FRAMEWORK FIRST STOP [SECONDS]`.

Prints each graph that is read wrongly, and how many were right, not followed, or failed.
"""

from __future__ import annotations

import sys
import time
from collections import Counter

import numpy as np
import torch

import atrous
from tests.property.drawn_layouts import drawn_graph
from tests.property.layout_oracle import disagreement
from tests.property.test_layout_tricks import _in_onnx


def _in_torch(seed: int) -> tuple[object, atrous.Inspection, str]:
    graph = drawn_graph(seed)
    report = atrous.inspect(graph.module(), graph.shape)

    def run(x: np.ndarray) -> np.ndarray:
        made: np.ndarray = graph.run(torch.as_tensor(x)).numpy()
        return made

    if any(node.opaque for node in report.network.nodes):
        return graph, report, ""
    return graph, report, disagreement(report, run, folds=graph.folds, seed=seed)


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main(framework: str, first: int, stop: int, seconds: float = float("inf")) -> None:
    """Read graph after graph."""
    counts: Counter[str] = Counter()
    start = time.monotonic()
    for seed in range(first, stop):
        if time.monotonic() - start > seconds:
            break
        try:
            graph, report, wrong = (_in_onnx if framework == "onnx" else _in_torch)(seed)
        except Exception as error:
            counts["failed"] += 1
            _say(f"seed {seed} failed: {type(error).__name__}: {str(error)[:200]}")
            continue
        if wrong:
            counts["wrong"] += 1
            _say(f"seed {seed}: {wrong}: {getattr(graph, 'steps', '')}")
        elif any(node.opaque for node in report.network.nodes):
            counts["not followed, and said so"] += 1
        else:
            counts["right" if report.complete else "right, and the field not known"] += 1
    _say(f"{framework}: {dict(counts)}")


if __name__ == "__main__":
    arguments = sys.argv[1:]
    main(arguments[0], int(arguments[1]), int(arguments[2]), *map(float, arguments[3:4]))
