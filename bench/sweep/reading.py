"""Builds a model of the sweep and reads it: what the report says of it, without a probe."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "src"), str(ROOT)]

import atrous  # noqa: E402
from bench.shared.commit import commit  # noqa: E402
from tests.torchvision_schemas import let_torchvision_import  # noqa: E402

MOST_PARAMS = 120_000_000
ATTENDS = {"attention", "matmul", "scan"}
"""Kinds of ops that a purely convolutional network has none of."""


def build(name: str) -> torch.nn.Module:
    """The model called `timm:NAME` or `torchvision:NAME`, with random weights."""
    let_torchvision_import()
    library, _, model = name.partition(":")
    torch.manual_seed(0)
    if library == "timm":
        import timm

        return timm.create_model(model).eval()
    import torchvision

    if hasattr(torchvision.models.segmentation, model):
        maker = getattr(torchvision.models.segmentation, model)
        return maker(weights=None, weights_backbone=None).eval()
    return torchvision.models.get_model(model, weights=None).eval()


def warm() -> None:
    """Import what every model needs, so that processes forked from this one have it."""
    build("timm:test_vit")
    build("torchvision:squeezenet1_1")
    atrous.inspect(torch.nn.Conv2d(1, 1, 1), (1, 1, 4, 4))


def sizes_of(name: str, model: torch.nn.Module) -> list[int]:
    """Image sizes to try: 128 px where the model takes it, else the one it was made for."""
    config = getattr(model, "pretrained_cfg", None) or {}
    own = int(config.get("input_size", (3, 224, 224))[-1])
    if config.get("fixed_input_size"):
        return [own]
    if name in ("torchvision:inception_v3", "torchvision:swin_t", "torchvision:swin_v2_t"):
        return [192]
    return [128, own]


def read(name: str) -> tuple[torch.nn.Module, atrous.Inspection | None, dict[str, Any]]:
    """The model, its report, and what that says; `status` and `reason` where there is none."""
    model = build(name)
    params = sum(p.numel() for p in model.parameters())
    found: dict[str, Any] = {"commit": commit(), "params": params}
    if params > MOST_PARAMS:
        return model, None, found | {"status": "skipped", "reason": "more than 120 M parameters"}
    refused = ""
    for size in dict.fromkeys(sizes_of(name, model)):
        try:
            report = atrous.inspect(model, (1, 3, size, size))
        except atrous.AtrousError as error:
            refused = str(error)
        else:
            return model, report, found | described(report) | {"size": size}
    return model, None, found | {"status": "unread", "reason": refused[:300]}


def described(report: atrous.Inspection) -> dict[str, Any]:
    """What the report says: complete, global and by which ops, opaque and why."""
    nodes = report.network.nodes
    kinds = {node.kind for node in nodes}
    mixing = [node for node in nodes if node.mixes and not node.opaque]
    # A head: once an op has mixed all positions, no tensor holds any.
    head = False
    if mixing and not {node.kind for node in mixing} & {*ATTENDS, "concat"}:
        after = nodes[nodes.index(mixing[0]) :]
        head = not any(n > 1 for node in after for n in node.output.grid.values())
    output = report.outputs[0]
    named = {f"{node.name}: {node.opaque}" for node in nodes if node.opaque}
    fields = [why for why in report.opaque if why not in named]
    return {
        "nodes": len(nodes),
        "complete": report.complete,
        "global": bool(mixing),
        "only_head_global": head,
        "globals": [f"{node.name} ({getattr(node.op, 'label', node.kind)})" for node in mixing],
        "global_ops": sorted({getattr(node.op, "label", node.kind) for node in mixing}),
        "opaque": sorted({f"{node.kind}: {node.opaque}" for node in nodes if node.opaque}) + fields,
        "convolutional": not kinds & ATTENDS,
        "field": [field.size for field in output.field],
        "macs": report.macs,
    }
