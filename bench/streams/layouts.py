"""Every layout of the tests as a stream in float32: `python bench/streams/layouts.py`.

Chunks of 1 to 5,000 against the offline run, and the ONNX file of a block in ONNX Runtime against
the stream, 15 blocks one after the other. Differences are relative to the largest value.
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
import atrous
from atrous.errors import UnsupportedError
from atrous.runners.stream.onnx_block import KEY
from tests.streamed_networks import NETWORKS, RUNNING

BLOCKS = 15


def off(found: Any, wanted: Any) -> float:
    """The largest difference beside the largest value."""
    if found.shape != wanted.shape:
        return float("inf")
    largest = max(float(np.abs(wanted).max(initial=0)), 1e-9)
    return float(np.abs(found - wanted).max(initial=0)) / largest


def in_chunks(live: atrous.Stream, model: torch.nn.Module, x: torch.Tensor) -> float:
    """How far the stream is off the offline run."""
    draw, pieces = random.Random(1), []
    while live.count < x.shape[live.axis]:
        count = min(draw.choice([1, 2, draw.randint(1, 5000)]), x.shape[live.axis] - live.count)
        pieces.append(live.push(x.narrow(live.axis, live.count, count)))
    found = torch.cat([*pieces, live.flush()], live.output_axis)
    with torch.no_grad():
        return off(found.numpy(), model(x).numpy())


def in_blocks(live: atrous.Stream, x: torch.Tensor, folder: Path) -> float:
    """How far ONNX Runtime is off the stream, block by block."""
    block, path = live.hop * max(1, 8 // live.hop), folder / "block.onnx"
    live.to_onnx(path, block)
    about = json.loads({one.key: one.value for one in onnx.load(path).metadata_props}[KEY])
    session, settled = onnxruntime.InferenceSession(path), about["settled"]
    names = [one.name for one in session.get_outputs()]
    x = torch.cat([x] * (2 + (settled + BLOCKS * block) // x.shape[live.axis]), live.axis)
    live.push(x.narrow(live.axis, 0, settled))
    state, worst = live.state_arrays(), 0.0
    for start in range(settled, settled + BLOCKS * block, block):
        piece = x.narrow(live.axis, start, block).numpy()
        made = dict(zip(names, session.run(None, {"input": piece, **state}), strict=True))
        worst = max(worst, off(made["output"], live.push(piece)))
        state = {one["input"]: made[one["output"]] for one in about["state"]}
    return worst


def main() -> None:
    """Prints a row for each layout."""
    print(
        "| layout | latency | hop | chunks off by | ONNX off by |\n| --- | --- | --- | --- | --- |"
    )
    for name, layout in {**NETWORKS, **RUNNING}.items():
        torch.manual_seed(0)
        model = layout.make().float().eval()
        live = atrous.stream(model, layout.shape, axis=layout.time)
        every = max(live.hop, 8)
        shape = list(layout.shape)
        shape[live.axis] = 7 * shape[live.axis] // every * every
        x = torch.randn(shape)
        chunks = in_chunks(live, model, x)
        live.reset()
        try:
            with tempfile.TemporaryDirectory() as folder:
                blocks = f"{in_blocks(live, x, Path(folder)):.1e}"
        except UnsupportedError:
            blocks = "no file"
        print(f"| {name} | {live.latency} | {live.hop} | {chunks:.1e} | {blocks} |", flush=True)


if __name__ == "__main__":
    main()
