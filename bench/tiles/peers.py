"""Tiles beside what people use: MONAI's inferer, Dask with a guessed depth, the tiled-VAE rule.

    python bench/tiles/peers.py [--picture docs/tiles.png]

Each cuts the same image for the same model in one process, in turns, and twice in a fork of its
own, of whose second run the peak of resident memory is taken beside what it held before. MONAI is
not among the library's extras: `pip install monai` in an environment of its own. Prints a line of
JSON for each.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import dask.array
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).resolve().parent))
from memory import resident
from models import built

import atrous

ROUNDS = 3


class Block(nn.Module):
    """Two convolutions behind group norms and a rectifier, and a shortcut."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for _ in range(2):
            norm = nn.GroupNorm(groups, channels) if groups else nn.BatchNorm2d(channels)
            layers += [norm, nn.SiLU(), nn.Conv2d(channels, channels, 3, padding=1)]
        self.body = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class Decoder(nn.Module):
    """The layout of a latent diffusion model's decoder: two blocks in the middle, four levels.

    Three blocks a level; no attention. With `groups` 0 the norms are those of batches, so that the
    halo is all that matters.
    """

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.enter = nn.Conv2d(4, channels, 3, padding=1)
        self.levels = nn.ModuleList(
            nn.Sequential(*(Block(channels, groups) for _ in range(count)))
            for count in (5, 3, 3, 3)
        )
        self.ups = nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=1) for _ in range(3))
        norm = nn.GroupNorm(groups, channels) if groups else nn.BatchNorm2d(channels)
        self.leave = nn.Sequential(norm, nn.SiLU(), nn.Conv2d(channels, 3, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        x = self.levels[0](self.enter(x))
        for up, level in zip(self.ups, self.levels[1:], strict=True):
            x = level(up(functional.interpolate(x, scale_factor=2.0, mode="nearest")))
        return self.leave(x)


class Encoder(nn.Module):
    """The way in: two blocks a level, strides padded behind alone, two blocks in the middle."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.enter = nn.Conv2d(3, channels, 3, padding=1)
        self.levels = nn.ModuleList(
            nn.Sequential(*(Block(channels, groups) for _ in range(count)))
            for count in (2, 2, 2, 4)
        )
        self.downs = nn.ModuleList(nn.Conv2d(channels, channels, 3, 2) for _ in range(3))
        norm = nn.GroupNorm(groups, channels) if groups else nn.BatchNorm2d(channels)
        self.leave = nn.Sequential(norm, nn.SiLU(), nn.Conv2d(channels, 8, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        x = self.levels[0](self.enter(x))
        for down, level in zip(self.downs, self.levels[1:], strict=True):
            x = level(down(functional.pad(x, (0, 1, 0, 1))))
        return self.leave(x)


def guessed(model: nn.Module, image: Tensor, tile: int, halo: int, up: int, down: int) -> Tensor:
    """Tiles with a guessed halo, cut off afterwards; `up` outputs stand for `down` inputs."""
    height, width = image.shape[2:]
    rows = []
    for top in range(0, height, tile):
        row = []
        for left in range(0, width, tile):
            y, x = max(top - halo, 0), max(left - halo, 0)
            ends = min(top + tile, height), min(left + tile, width)
            made = model(image[:, :, y : ends[0] + halo, x : ends[1] + halo])
            a, b = ((at - o) * up // down for at, o in ((top, y), (left, x)))
            h, w = ((end - at) * up // down for end, at in zip(ends, (top, left), strict=True))
            row.append(made[:, :, a : a + h, b : b + w])
        rows.append(torch.cat(row, 3))
    return torch.cat(rows, 2)


def overlapped(model: nn.Module, image: Tensor, tile: int, depth: int) -> Tensor:
    """Dask's `map_overlap`, of which most say `boundary="reflect"` and a depth by feeling."""
    array = dask.array.from_array(image.numpy(), chunks=(1, image.shape[1], tile, tile))

    def run(part: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return model(torch.from_numpy(np.ascontiguousarray(part))).numpy()

    cut = {0: 0, 1: 0, 2: depth, 3: depth}
    classes = model(image[:, :, :64, :64]).shape[1]
    made = array.map_overlap(
        run, depth=cut, boundary="reflect", trim=False, dtype=np.float32,
        chunks=(1, classes, tuple(c + 2 * depth for c in array.chunks[2]),
                tuple(c + 2 * depth for c in array.chunks[3])),
    )  # fmt: skip
    trimmed = dask.array.overlap.trim_overlap(made, cut, boundary="reflect")
    return torch.from_numpy(trimmed.compute(scheduler="synchronous"))


def slid(model: nn.Module, image: Tensor, tile: int, overlap: float, mode: str) -> Tensor:
    """MONAI's sliding window, which blends."""
    from monai.inferers import sliding_window_inference

    found: Tensor = sliding_window_inference(
        image, (tile, tile), 1, model, overlap=overlap, mode=mode
    )
    return found


def drawn(model: nn.Module) -> nn.Module:
    """Weights by which a layer passes on the size of what it gets."""
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight)
    return model.eval()


Way = Callable[[], Tensor]


def held(way: Way) -> float:
    """MiB of resident memory that a way takes at most beyond what is there, in a fork."""
    reads, writes = os.pipe()
    child = os.fork()
    if not child:
        with torch.inference_mode():
            way()  # what libraries set up for themselves is no part of it
            ctypes.CDLL(None).malloc_trim(0)
            before = resident("VmRSS")
            Path("/proc/self/clear_refs").write_text("5")
            way()
            os.write(writes, str(resident("VmHWM") - before).encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(writes)
    with os.fdopen(reads) as answer:
        return int(answer.read()) / 2**20


def measured(case: str, whole: Way, ways: dict[str, Way]) -> dict[str, Tensor]:
    """Prints a line for each way, its times taken in turns with the whole image's."""
    memory = {name: held(way) for name, way in (("whole", whole), *ways.items())}
    print(json.dumps({"case": case, "way": "whole", "MiB": round(memory["whole"], 1)}), flush=True)
    with torch.inference_mode():
        reference = whole()
        found = {name: way() for name, way in ways.items()}
        seconds: dict[str, list[float]] = {name: [] for name in ("whole", *ways)}
        for _ in range(ROUNDS):
            for name, way in (("whole", whole), *ways.items()):
                start = time.process_time()
                way()
                seconds[name].append(time.process_time() - start)
    base = statistics.median(seconds["whole"])
    largest = float(reference.abs().max())
    for name, made in found.items():
        far = float((made - reference).abs().max()) / largest
        ratio = statistics.median(seconds[name]) / base
        line = {"case": case, "way": name, "difference": f"{far:.2g}", "time": round(ratio, 2)}
        line["MiB"] = round(memory[name], 1)
        print(json.dumps(line), flush=True)
    return {name: (made - reference).abs() / largest for name, made in found.items()}


def picture(path: Path, maps: dict[str, Tensor]) -> None:
    """Differences side by side as grey, on one scale of powers of ten from 1e-6 to 1."""
    from PIL import Image

    shown = []
    for one in maps.values():
        flat = one[0].amax(0).clamp_min(1e-6).log10()
        shown.append(functional.pad(1 + flat / 6, (0, 6), value=1.0))
    grey = 255 - (torch.cat(shown, 1).clamp(0, 1) * 255).byte().numpy()
    Image.fromarray(grey).save(path, optimize=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--picture", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model, _ = built("U-Net, transposed")
    image = torch.randn(1, 3, 512, 512)
    tiled = atrous.tile(model, tile=128)
    plan = tiled.plan(image.shape)
    print(json.dumps({"case": "U-Net", "halo": plan.halo, "period": plan.origins}))
    maps = measured(
        "U-Net",
        partial(model, image),
        {
            "atrous": partial(tiled, image),
            "MONAI, overlap 0.25, constant": partial(slid, model, image, 192, 0.25, "constant"),
            "MONAI, overlap 0.5, gaussian": partial(slid, model, image, 192, 0.5, "gaussian"),
            "Dask map_overlap, depth 8": partial(overlapped, model, image, 128, 8),
            "Dask map_overlap, depth 16": partial(overlapped, model, image, 128, 16),
        },
    )
    if given.picture:
        names = ("MONAI, overlap 0.5, gaussian", "Dask map_overlap, depth 8", "atrous")
        picture(given.picture, {name: maps[name] for name in names})
    torch.set_default_dtype(torch.float64)  # so that rounding hides nothing
    latent, photo = torch.randn(1, 4, 64, 24), torch.randn(1, 3, 512, 64)
    for groups in (0, 4):
        kind = f"group norms of {groups}" if groups else "batch norms"
        exact = {"statistics": "exact"} if groups else {}
        decoder, encoder = (drawn(make(8, groups)) for make in (Decoder, Encoder))
        by_tiles = atrous.tile(decoder, tile=(24, 24), **exact)
        print(json.dumps({"case": f"decoder, {kind}", "halo": by_tiles.plan(latent.shape).halo}))
        measured(
            f"decoder, {kind}",
            partial(decoder, latent),
            {
                "atrous": partial(by_tiles, latent),
                "halo of 11": partial(guessed, decoder, latent, 24, 11, 8, 1),
            },
        )
        by_tiles = atrous.tile(encoder, tile=(128, 64), **exact)
        print(json.dumps({"case": f"encoder, {kind}", "halo": by_tiles.plan(photo.shape).halo}))
        measured(
            f"encoder, {kind}",
            partial(encoder, photo),
            {
                "atrous": partial(by_tiles, photo),
                "halo of 32": partial(guessed, encoder, photo, 128, 32, 1, 8),
            },
        )


if __name__ == "__main__":
    main()
