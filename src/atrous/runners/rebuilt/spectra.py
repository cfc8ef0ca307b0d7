"""Operators of frames and spectra."""

from __future__ import annotations

import torch
from torch.nn import functional

from atrous.errors import ReadError
from atrous.runners.rebuilt.call import Made, RebuiltCall, rebuilds

__all__: list[str] = []


@rebuilds("DFT")
def _fourier(call: RebuiltCall) -> Made:
    x = call.tensor(0)
    given = call.whole(1, "length")
    place = call.whole(2, "axis") if call.version >= 20 else (call.integer("axis", 1),)
    d = call.axis(-2 if not place else place[0], x.dim())
    size = given[0] if given else None
    inverse, half = bool(call.integer("inverse")), bool(call.integer("onesided"))
    if x.shape[-1] not in (1, 2) or d == x.dim() - 1:
        raise ReadError(f"DFT takes numbers or pairs of them last, got {tuple(x.shape)}.")
    if half and inverse:
        raise call.refusal("makes numbers of half a spectrum")
    if x.shape[-1] == 1 and not inverse:
        real = x.squeeze(-1)
        made = torch.fft.rfft(real, size, d) if half else torch.fft.fft(real, size, d)
        return torch.view_as_real(made)
    if half:
        raise call.refusal("makes half a spectrum of complex numbers")
    pairs = x if x.shape[-1] == 2 else functional.pad(x, [0, 1])
    whole = torch.view_as_complex(pairs.contiguous())
    made = torch.fft.ifft(whole, size, d) if inverse else torch.fft.fft(whole, size, d)
    return torch.view_as_real(made)


@rebuilds("STFT")
def _short_time(call: RebuiltCall) -> Made:
    x, hop, window = call.tensor(0), call.whole(1, "step"), call.optional(2)
    length = call.whole(3, "frame length")
    if not hop or (window is None and not length):
        raise ReadError("STFT needs a step, and a window or a frame length.")
    if x.dim() == 3:
        if x.shape[2] != 1:
            raise call.refusal("transforms complex numbers")
        x = x.squeeze(2)
    size = length[0] if length else (0 if window is None else window.shape[0])
    frames = x.unfold(1, size, hop[0])
    frames = frames if window is None else frames * window
    half = bool(call.integer("onesided", 1))
    made = torch.fft.rfft(frames, dim=-1) if half else torch.fft.fft(frames, dim=-1)
    return torch.view_as_real(made)


@rebuilds("Col2Im")
def _folded_back(call: RebuiltCall) -> Made:
    x, size, block = call.tensor(0), call.whole(1, "image"), call.whole(2, "block")
    if size is None or block is None or len(size) != 2 or len(block) != 2:
        raise call.refusal("lays blocks of other than two dimensions")
    pads = call.integers("pads") or (0, 0, 0, 0)
    if pads[:2] != pads[2:]:
        raise call.refusal("pads its sides differently")
    rates, strides = call.integers("dilations") or (1, 1), call.integers("strides") or (1, 1)
    return functional.fold(x, size, block, rates, pads[:2], strides)
