"""Peak memory that reports say against what PyTorch's profiler sees, on real models.

    python bench/sweep/memory.py

Writes `memory.json` and prints the table. Both count the input and all tensors, no parameters.
`tensors` leaves out what an op frees before it returns (its workspace); `everything` counts it.
"""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "src"), str(ROOT)]

import torch  # noqa: E402

import atrous  # noqa: E402
from bench.shared.commit import commit, commits  # noqa: E402
from bench.sweep.reading import build  # noqa: E402
from tests.memory_probe import profiled_peak  # noqa: E402

NAMES = """
torchvision:alexnet torchvision:resnet18 torchvision:resnet50 torchvision:mobilenet_v2
torchvision:squeezenet1_1 torchvision:shufflenet_v2_x0_5 torchvision:googlenet
torchvision:densenet121 torchvision:lraspp_mobilenet_v3_large torchvision:deeplabv3_resnet50
timm:convnext_atto timm:deit_tiny_patch16_224 timm:efficientnet_b0 timm:hrnet_w18_small
timm:poolformer_s12 timm:regnety_002 timm:repvgg_a0 timm:resnetblur18
timm:swin_tiny_patch4_window7_224 timm:xception41
"""


def main() -> None:
    """Measure, print and write."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    found = {}
    for name in NAMES.split():
        model, x = build(name), torch.zeros(1, 3, 224, 224)
        ours = atrous.inspect(model, (1, 3, 224, 224)).peak_memory_bytes
        peak = profiled_peak(model, x)
        ratio = ours / peak.tensors
        found[name] = {
            "commit": commit(),
            "report": ours,
            "tensors": peak.tensors,
            "everything": peak.everything,
            "ratio": round(ratio, 4),
        }
        mib = [f"{n / 2**20:8.2f}" for n in (ours, peak.tensors, peak.everything)]
        print(f"{name:40} {' '.join(mib)} MiB   ratio {ratio:.3f}", flush=True)
    within = sum(abs(entry["ratio"] - 1) <= 0.1 for entry in found.values())
    made = commits(entry["commit"] for entry in found.values())
    print(f"{within} of {len(found)} within a tenth (torch {torch.__version__}, 224 px, {made})")
    Path(__file__).with_name("memory.json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
