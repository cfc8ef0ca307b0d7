"""The oracle for multiply-accumulates: PyTorch's own counter, fused kernels taken apart."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode


def counted_macs(model: Any, *inputs: Any, **named: Any) -> int:
    """What PyTorch counts while `model(*inputs, **named)` runs, in multiply-accumulates.

    The fused attention, recurrence and encoder layer of the CPU hide their products from it.
    """
    fused = torch.backends.mha.get_fastpath_enabled()
    # The counter asks what takes part in training for its gradient, also where there is none.
    held = [p for p in getattr(model, "parameters", list)() if p.requires_grad]
    for parameter in held:
        parameter.requires_grad_(False)
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with (
            warnings.catch_warnings(action="ignore"),
            torch.no_grad(),
            torch.backends.mkldnn.flags(enabled=False),
            sdpa_kernel(SDPBackend.MATH),
            FlopCounterMode(display=False) as counter,
        ):
            model(*inputs, **named)
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
        for parameter in held:
            parameter.requires_grad_(True)
    return counter.get_total_flops() // 2
