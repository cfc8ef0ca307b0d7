"""What reports say beside torchinfo, torchscan, gradients and NaN probing, on the same models.

    python bench/inspect/against_others.py [--json FILE]

For one layer of each model: its receptive field along the height, the model's MACs, how long that
took and how much memory it added, each in a process of its own, one thread. NaN probing runs the
model once for each row of the input and is the truth to which the fields are held. torchscan gives
each layer's own field; they are chained here in the order in which it lists them. Peers that are
not installed are left out.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import json
import multiprocessing
import platform
import resource
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "src"), str(ROOT)]

import torch  # noqa: E402

import atrous  # noqa: E402
from bench.sweep.sweep import build  # noqa: E402

# Model, layer, and an image that the layer's field fits in.
CASES = [
    ("torchvision:resnet18", "layer2.1.conv2", 161),
    ("torchvision:mobilenet_v2", "features.6.conv.2", 161),
    ("torchvision:densenet121", "features.transition1.conv", 129),
    ("torchvision:googlenet", "inception3a.branch3.1.conv", 161),
    ("torchvision:squeezenet1_1", "features.7.expand3x3", 161),
    ("dilated", "4", 97),
]
Found = dict[str, Any]


def model_of(name: str) -> torch.nn.Module:
    """A known model, or a stack of rates 1, 2, 2, 4 and a stride, which leaves holes."""
    if name != "dilated":
        return build(name)
    torch.manual_seed(0)
    rates = (1, 2, 2, 4)
    convs = [torch.nn.Conv2d(8, 8, 3, dilation=r, padding=r) for r in rates]
    return torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, 2, 1), *convs).eval()


def by_atrous(model: torch.nn.Module, layer: str, size: int) -> Found:
    """Our own report."""
    report = atrous.inspect(model, (1, 3, size, size))
    field = report[layer].field[0]
    return {"field": field.size, "taps": field.taps, "macs": report.macs}


def by_torchinfo(model: torch.nn.Module, _layer: str, size: int) -> Found:
    """torchinfo's summary, which has no receptive fields."""
    import torchinfo

    found = torchinfo.summary(model, (1, 3, size, size), verbose=0)
    return {"macs": int(found.total_mult_adds)}


def by_torchscan(model: torch.nn.Module, layer: str, size: int) -> Found:
    """torchscan's crawl, its fields chained up to the layer."""
    import torchscan

    found = torchscan.crawl_module(model, (3, size, size))
    field, stride = 1.0, 1.0
    for entry in found["layers"]:
        metrics = entry["metrics"]
        own = metrics.get("receptive_field", {}).get("value")
        if own:
            field += (own - 1) * stride
            stride *= metrics["effective_stride"]["value"]
        if entry["path"] == layer:
            break
    return {"field": int(field), "macs": found["totals"]["macs"]["value"]}


def _watch(model: torch.nn.Module, layer: str) -> list[torch.Tensor]:
    seen: list[torch.Tensor] = []
    dict(model.named_modules())[layer].register_forward_hook(lambda _m, _i, out: seen.append(out))
    return seen


def by_gradient(model: torch.nn.Module, layer: str, size: int) -> Found:
    """Rows that the gradient of the layer's middle position, on a random image, reaches."""
    seen = _watch(model, layer)
    x = torch.randn(1, 3, size, size, requires_grad=True)
    model(x)
    out = seen[0]
    out[0, :, out.shape[2] // 2, out.shape[3] // 2].sum().backward()
    assert x.grad is not None
    rows = x.grad[0].abs().sum((0, 2)).nonzero().flatten()
    return {"field": int(rows[-1] - rows[0] + 1), "taps": len(rows)}


def by_probing(model: torch.nn.Module, layer: str, size: int) -> Found:
    """Rows in which a NaN makes the layer's middle position NaN: one run of the model for each."""
    seen = _watch(model, layer)
    rows = []
    with torch.no_grad():
        for first in range(0, size, 8):
            group = range(first, min(first + 8, size))
            x = torch.zeros(len(group), 3, size, size)
            for index, row in enumerate(group):
                x[index, :, row] = float("nan")
            seen.clear()
            model(x)
            out = seen[0][:, :, seen[0].shape[2] // 2, seen[0].shape[3] // 2]
            turned = torch.isnan(out).any(1).tolist()
            rows += [row for row, nan in zip(group, turned, strict=True) if nan]
    return {"field": rows[-1] - rows[0] + 1, "taps": len(rows)}


WAYS: dict[str, Callable[[torch.nn.Module, str, int], Found]] = {
    "NaN probing": by_probing,
    "atrous": by_atrous,
    "gradient": by_gradient,
    "torchinfo": by_torchinfo,
    "torchscan": by_torchscan,
}


def measure(way: str, case: tuple[str, str, int]) -> Found:
    """What one way gives for one case in a process of its own, with time and added memory."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(theirs, way, case))
    process.start()
    theirs.close()
    try:
        found: Found = ours.recv()
    except EOFError:
        found = {"error": "the process ended without a result"}
    process.join()
    return found


def _child(pipe: Any, way: str, case: tuple[str, str, int]) -> None:
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    name, layer, size = case
    model = model_of(name)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    try:
        found = WAYS[way](model, layer, size)
    except Exception as error:
        found = {"error": f"{type(error).__name__}: {error}"[:200]}
    found["seconds"] = round(time.perf_counter() - start, 3)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found["mib"] = round((peak - before) / 1024, 1)
    pipe.send(found)


def main() -> None:
    """Measure and print Markdown tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    peers = ("torchinfo", "torchscan")
    ways = [way for way in WAYS if way not in peers or importlib.util.find_spec(way)]
    versions = [
        f"{name} {importlib.metadata.version(name)}"
        for name in ("torch", "torchvision", *(p for p in peers if p in ways))
    ]
    print(f"{', '.join(versions)}; Python {platform.python_version()}, {platform.machine()}, ")
    print("one thread, each in a process of its own.\n")
    print("| model, layer, image | by | field | taps | MACs | seconds | MiB added |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    everything = {}
    for case in CASES:
        truth: Any = None
        for way in ways:
            found = measure(way, case)
            everything[f"{case[0]} {way}"] = found
            if way == "NaN probing":
                truth = found.get("field")
            field = found.get("field", "-")
            if field != "-" and truth is not None:
                field = f"{field} {'right' if field == truth else 'wrong'}"
            label = f"{case[0]}, {case[1]}, {case[2]} px"
            macs = f"{found['macs']:,}" if found.get("macs") else "-"
            shown = [label, way, field, found.get("taps", "-"), macs]
            shown += [found.get("seconds", "-"), found.get("mib", "-")]
            print(f"| {' | '.join(map(str, shown))} |", flush=True)
            if "error" in found:
                print(f"{way}: {found['error']}", file=sys.stderr)
    if options.json:
        options.json.write_text(json.dumps(everything, indent=1) + "\n")


if __name__ == "__main__":
    main()
