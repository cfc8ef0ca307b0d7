"""A model whose depthwise convolutions run by our kernels, module by module; it can be trained.

Used where training is asked for, and where a model cannot be traced as a whole.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from atrous.frameworks.torch import in_mode
from atrous.geometry import Window, torch_pads
from atrous.operators.kernels.torch_ops import conv_depthwise
from atrous.optimization.graph.tune import Progress
from atrous.optimization.layer.call import LayerCall
from atrous.optimization.layer.choose import difference, tolerance
from atrous.optimization.layer.timing import Timer
from atrous.optimization.records import LayerChoice
from atrous.optimization.slow_path import slow_path

__all__ = ["Swapped", "shared_copy", "swapped"]

_CONVS: tuple[type[nn.Module], ...] = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


class _Depthwise:
    """The forward of a depthwise convolution by our kernels, for inputs of the usual rank."""

    def forward(self: Any, x: torch.Tensor) -> torch.Tensor:
        """The convolution."""
        weight = self.weight
        fits = x.dim() == weight.dim() and x.shape[1] == self.in_channels
        if not fits or x.dtype != weight.dtype or x.device != weight.device:
            # PyTorch's own layer says what is wrong, or does what is asked for.
            made: torch.Tensor = super().forward(x)  # type: ignore[misc]
            return made
        return conv_depthwise(
            x, self.weight, self.bias, self.stride, self.dilation, padding_of(self)
        )


class DepthwiseConv1d(_Depthwise, nn.Conv1d):
    """`nn.Conv1d` with a group for each channel, by our kernels."""


class DepthwiseConv2d(_Depthwise, nn.Conv2d):
    """`nn.Conv2d` with a group for each channel, by our kernels."""


class DepthwiseConv3d(_Depthwise, nn.Conv3d):
    """`nn.Conv3d` with a group for each channel, by our kernels."""


_SWAPS: dict[type[nn.Module], type[nn.Module]] = {
    nn.Conv1d: DepthwiseConv1d,
    nn.Conv2d: DepthwiseConv2d,
    nn.Conv3d: DepthwiseConv3d,
}


@dataclass(frozen=True, slots=True)
class Swapped:
    """A copy with the original's parameters in which some layers run otherwise, and which."""

    model: nn.Module
    layers: tuple[LayerChoice, ...]


def padding_of(conv: Any) -> tuple[tuple[int, int], ...]:
    """A convolution's zeros around its input, low and high, by axis."""
    return torch_pads(conv.padding, conv.kernel_size, conv.dilation)


def shared_copy(model: nn.Module) -> nn.Module:
    """A copy of the modules that has the same parameters and buffers, not copies of them."""
    memo: dict[int, Any] = {}
    for tensor in [*model.parameters(), *model.buffers()]:
        memo[id(tensor)] = tensor
    return copy.deepcopy(model, memo)


def swapped(
    model: nn.Module,
    inputs: Sequence[torch.Tensor],
    timer: Timer,
    progress: Progress,
    *,
    training: bool,
) -> Swapped:
    """The model with each depthwise layer by our kernels where those are faster and give the same.

    Measured on what the layer gets when the model runs on `inputs`: forward, and backward as well
    where it is for training.
    """
    made = shared_copy(model)
    layers = [
        (path, part)
        for path, part in made.named_modules()
        if type(part) in _SWAPS and _is_depthwise(part)
    ]
    seen = _caught(made, layers, inputs) if layers else {}
    found: list[LayerChoice] = []
    for at, (path, part) in enumerate(layers):
        progress(path, at / len(layers))
        if path not in seen:
            continue
        found.append(_tried(path, part, seen[path], timer, training=training))
    return Swapped(made, tuple(found))


def _is_depthwise(conv: Any) -> bool:
    is_plain = conv.padding_mode == "zeros" and conv.in_channels == conv.groups > 1
    return is_plain and conv.weight.dtype in (torch.float32, torch.float64)


def _caught(
    model: nn.Module, layers: Sequence[tuple[str, nn.Module]], inputs: Sequence[torch.Tensor]
) -> dict[str, torch.Tensor]:
    """What each of these layers is given when the model runs, at its last call."""
    caught: dict[str, torch.Tensor] = {}

    def catcher(path: str) -> Callable[..., None]:
        def catch(_module: nn.Module, args: tuple[Any, ...]) -> None:
            if args and isinstance(args[0], torch.Tensor):
                caught[path] = args[0].detach().clone()

        return catch

    hooks = [part.register_forward_pre_hook(catcher(path)) for path, part in layers]
    try:
        with torch.no_grad(), in_mode(model, training=False):
            model(*(x.clone() for x in inputs))
    finally:
        for hook in hooks:
            hook.remove()
    return caught


def _tried(path: str, conv: Any, x: torch.Tensor, timer: Timer, *, training: bool) -> LayerChoice:
    """Swaps the layer's class where that is faster and gives the same; says what came of it."""
    plain = type(conv)
    call = LayerCall(
        "conv",
        tuple(x.shape),
        tuple(conv.weight.shape),
        conv.bias is not None,
        Window.of_axes(conv.kernel_size, conv.stride, conv.dilation, padding_of(conv)),
        conv.groups,
    )

    def run(kind: type[nn.Module]) -> list[torch.Tensor]:
        conv.__class__ = kind
        try:
            if not training:
                with torch.no_grad():
                    return [conv(x)]
            given = x.detach().requires_grad_()
            wanted = [given, *(p for p in conv.parameters() if p.requires_grad)]
            with torch.enable_grad():
                result = conv(given)
                return [result.detach(), *torch.autograd.grad(result.sum(), wanted)]
        finally:
            conv.__class__ = plain

    slow = ""
    if not isinstance(conv.padding, str):
        with torch.no_grad():
            settings = (conv.stride, conv.padding, conv.dilation, conv.groups)
            slow = slow_path(x, conv.weight, conv.bias, *settings)
    kept = LayerChoice(path, call.title, "torch", 0.0, 0.0, 0.0, slow_path=slow)
    why: tuple[str, ...] = ()
    far: float | None = None
    try:
        pairs = zip(run(plain), run(_SWAPS[plain]), strict=True)
        far = max(difference(one, two) for one, two in pairs)
    except (RuntimeError, TypeError, ValueError) as error:
        why = (f"depthwise kernel: {(str(error).splitlines() or [''])[0][:120]}",)
    if far is None or far > tolerance(x.dtype):
        if far is not None:
            why = (f"depthwise kernel: differs by {far:.1e}",)
        return replace(kept, why=why)
    taken = timer({"torch": lambda: run(plain), "depthwise kernel": lambda: run(_SWAPS[plain])})
    before, after = taken["torch"], taken["depthwise kernel"]
    listed = tuple(sorted(taken.items(), key=lambda pair: pair[1]))
    if after > 0.98 * before:
        return replace(kept, ms_before=before, ms_after=before, candidates=listed)
    conv.__class__ = _SWAPS[plain]
    return replace(
        kept,
        strategy="depthwise kernel",
        ms_before=before,
        ms_after=after,
        max_difference=far,
        candidates=listed,
    )
