"""One run by tiles in a process of its own: its peak of resident memory beside the plan's.

    python bench/tiles/memory.py MODEL SIZE TILE [--whole]

Prints one line of JSON. The image is made up where it is read and the result is thrown away. What
the process holds before, with everything imported and the model run once on a small image, is
taken off.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent))
from models import built

import atrous


class MadeUp:
    """An image of any size whose numbers are made where they are read."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape, self.dtype = shape, np.dtype(np.float32)

    def __getitem__(self, key: tuple[slice, ...]) -> np.ndarray:
        ends = [part.indices(n) for part, n in zip(key, self.shape, strict=True)]
        found = np.empty([stop - start for start, stop, _ in ends], np.float32)
        rows, columns = (np.arange(*end[:2], dtype=np.float32) for end in ends[-2:])
        np.multiply(np.sin(rows * 0.37)[:, None], np.cos(columns * 0.23), out=found[0, 0])
        found[:, 1:] = found[:, :1]
        return found


class Nowhere:
    """Takes what is assigned, and keeps nothing."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape, self.dtype = shape, np.dtype(np.float32)

    def __setitem__(self, key: object, value: object) -> None:
        pass


def resident(field: str) -> int:
    """Bytes by the kernel's count: `VmRSS` now, `VmHWM` at its most."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) << 10
    raise OSError(f"{field} is not told.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("size", type=int)
    parser.add_argument("tile", type=int)
    parser.add_argument("--whole", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(1)
    model, channels = built(given.model)
    shape = (1, channels, given.size, given.size)
    tiled = atrous.tile(model, tile=given.tile)
    plan = tiled.plan(shape)
    targets = tuple(Nowhere(one.shape) for one in plan.outputs)
    small = atrous.tile(model, tile=64)
    few = (1, channels, 160, 160)
    made = tuple(Nowhere(one.shape) for one in small.plan(few).outputs)
    small.run(MadeUp(few), made)
    if plan.resizes:
        tiled._engine(plan)
    before = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")
    start = time.process_time()
    if given.whole:
        image = torch.from_numpy(MadeUp(shape)[tuple(slice(0, n) for n in shape)])
        with torch.inference_mode():
            model(image)
    else:
        tiled.run(MadeUp(shape), targets)
    seconds = time.process_time() - start
    print(
        json.dumps(
            {
                "model": given.model,
                "size": given.size,
                "tile": list(plan.tile_shape),
                "tiles": len(plan),
                "whole": given.whole,
                "plan": plan.memory_bytes,
                "tile_peak": plan.tile_peak_bytes,
                "input": sum(4 * int(np.prod(one)) for one in plan.input_shapes),
                "whole_peak": plan.whole_peak_bytes,
                "measured": resident("VmHWM") - before,
                "cpu_seconds": round(seconds, 2),
                "recomputed": round(plan.recomputed, 4),
            }
        )
    )


if __name__ == "__main__":
    main()
