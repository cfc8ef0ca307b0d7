"""A day of sound through a stream: `python bench/streams/day.py [--hours H]`.

A causal stack of three dilated layers, 16,000 samples a second, chunks of 1 to 65,536. Resident
memory after every eighth of the way, and how far the last second is off the offline run of what it
reads.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
from pathlib import Path

import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
import atrous

RATE, MOST, KEPT = 16_000, 1 << 16, 40_000


class Causal(nn.Conv1d):
    """A convolution that looks back alone."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        behind = (self.kernel_size[0] - 1) * self.dilation[0]
        return super().forward(nn.functional.pad(x, (behind, 0)))


def resident() -> float:
    """MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def main() -> None:
    """Prints the memory on the way, and the difference at the end."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--hours", type=float, default=24.0)
    samples = int(asked.parse_args().hours * 3600 * RATE)
    torch.manual_seed(0)
    layers = [Causal(1, 4, 3), nn.ReLU(), Causal(4, 4, 3, dilation=4), nn.ReLU()]
    model = nn.Sequential(*layers, Causal(4, 1, 3, dilation=16)).eval()
    live = atrous.stream(model, (1, 1, 4000))
    draw, numbers = random.Random(0), torch.Generator().manual_seed(1)
    read, made = torch.zeros(1, 1, 0), torch.zeros(1, 1, 0)
    told = 0
    while live.count < samples:
        count = min(draw.randint(1, MOST), samples - live.count)
        chunk = torch.randn(1, 1, count, generator=numbers)
        made = torch.cat([made, live.push(chunk)], -1)[..., -RATE:]
        read = torch.cat([read, chunk], -1)[..., -KEPT:]
        if live.count * 8 >= told * samples:
            print(f"{live.count / RATE / 3600:.1f} h: {resident():.0f} MiB", flush=True)
            told += 1
    with torch.no_grad():
        offline = model(read)[..., -made.shape[-1] :]
    print(f"the last second is off by {float((made - offline).abs().max()):.1e}")


if __name__ == "__main__":
    main()
