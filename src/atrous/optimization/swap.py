"""A model whose convolutions run by our kernels, module by module; it can be trained.

Used where training is asked for, and where a model cannot be traced as a whole.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from atrous.frameworks.torch import in_mode, is_watched
from atrous.geometry import Window, torch_pads
from atrous.operators.convolution import Convolution
from atrous.operators.kernels.torch_ops import conv_depthwise
from atrous.operators.kernels.torch_winograd import conv_filtered
from atrous.operators.tiles import LEVELS
from atrous.optimization.graph.tune import Progress
from atrous.optimization.layer.call import LayerCall
from atrous.optimization.layer.choose import difference, tolerance
from atrous.optimization.layer.rounding import ALLOWED, Rounded
from atrous.optimization.layer.timing import Timer
from atrous.optimization.layer.with_winograd import applies
from atrous.optimization.records import LayerChoice, Rounding
from atrous.optimization.slow_path import slow_path
from atrous.refusal import Refusal

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


class _Filtered:
    """The forward of a dense convolution by minimal filtering, of the level that rounds least."""

    def forward(self: Any, x: torch.Tensor) -> torch.Tensor:
        """The convolution; by PyTorch where it is not float32 here, traced, or without outputs."""
        if not is_watched() and _is_filterable(self, x):
            return conv_filtered(x, self.weight, self.bias, convolution_of(self, x), LEVELS[0])
        made: torch.Tensor = super().forward(x)  # type: ignore[misc]
        return made


class FilteredConv1d(_Filtered, nn.Conv1d):
    """`nn.Conv1d` by minimal filtering."""


class FilteredConv2d(_Filtered, nn.Conv2d):
    """`nn.Conv2d` by minimal filtering."""


_SWAPS: dict[type[nn.Module], type[nn.Module]] = {
    nn.Conv1d: DepthwiseConv1d,
    nn.Conv2d: DepthwiseConv2d,
    nn.Conv3d: DepthwiseConv3d,
}
_DENSE: dict[type[nn.Module], type[nn.Module]] = {
    nn.Conv1d: FilteredConv1d,
    nn.Conv2d: FilteredConv2d,
}


@dataclass(frozen=True, slots=True)
class Swapped:
    """A copy with the original's parameters in which some layers run otherwise, and which."""

    model: nn.Module
    layers: tuple[LayerChoice, ...]


def _is_filterable(conv: Any, x: torch.Tensor) -> bool:
    if type(x) is not torch.Tensor or x.dim() != conv.weight.dim() or not x.numel():
        return False
    here = x.device.type == "cpu" and x.dtype == conv.weight.dtype == torch.float32
    if not here or x.shape[1] != conv.in_channels:
        return False
    call = convolution_of(conv, x)
    axes = zip(call.sizes, call.windows, strict=True)
    return all(size + sum(window.padding) >= window.extent for size, window in axes)


def convolution_of(conv: Any, x: torch.Tensor) -> Convolution:
    """What a module computes of `x`."""
    windows = Window.of_axes(conv.kernel_size, conv.stride, conv.dilation, padding_of(conv))
    return Convolution(
        x.shape[0], x.shape[1], conv.out_channels, tuple(x.shape[2:]), windows, conv.groups
    )


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
    rounding: Rounding = None,
) -> Swapped:
    """The model with each layer by our kernels where those are faster and give the same.

    Measured on what the layer gets when the model runs on `inputs`: forward, and backward as well
    where it is for training.
    """
    made = shared_copy(model)
    layers = [
        (path, part) for path, part in made.named_modules() if _swap_of(part, rounding) is not None
    ]
    seen = _caught(made, layers, inputs) if layers else {}
    found: list[LayerChoice] = []
    for at, (path, part) in enumerate(layers):
        progress(path, at / len(layers))
        if path not in seen:
            continue
        found.append(_tried(path, part, seen[path], timer, rounding, training=training))
    return Swapped(made, tuple(found))


def _swap_of(conv: Any, rounding: Rounding) -> type[nn.Module] | None:
    """The class that runs a module by our kernels, where one may."""
    kind = type(conv)
    if kind not in _SWAPS or conv.padding_mode != "zeros":
        return None
    if conv.in_channels == conv.groups > 1:
        return _SWAPS[kind] if conv.weight.dtype in (torch.float32, torch.float64) else None
    dense = conv.groups == 1 and conv.weight.dtype == torch.float32 and rounding != "direct"
    return _DENSE.get(kind) if dense and max(conv.kernel_size) > 1 else None


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


def _tried(
    path: str, conv: Any, x: torch.Tensor, timer: Timer, rounding: Rounding, *, training: bool
) -> LayerChoice:
    """Swaps the layer's class where that is faster and gives the same; says what came of it."""
    plain, swap = type(conv), _swap_of(conv, rounding) or type(conv)
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
    dense = swap not in _SWAPS.values()
    name = f"winograd {LEVELS[0]}" if dense else "depthwise kernel"
    if dense and x.dim() != conv.weight.dim():
        return replace(kept, why=(f"{name}: its input has no batch.",))
    if dense and not (fits := applies(LEVELS[0], call)):
        return replace(kept, why=(f"{name}: {fits}",) if isinstance(fits, Refusal) else ())
    try:
        old, new = run(plain), run(swap)
        far = max(difference(one, two) for one, two in zip(old, new, strict=True))
    except (RuntimeError, TypeError, ValueError) as failed:
        return replace(kept, why=(f"{name}: {(str(failed).splitlines() or [''])[0][:120]}",))
    if far > tolerance(x.dtype):
        return replace(kept, why=(f"{name}: differs by {far:.1e}",))
    error = direct = None
    if dense:
        bias = None if conv.bias is None else conv.bias.detach()
        rounded = Rounded(call, conv.weight.detach(), bias, (x,))
        error, direct = rounded.error(new[0]), rounded.error(old[0])
        if rounding is None and not error <= ALLOWED * direct:
            return replace(kept, why=(f"{name}: rounds off {error:.1e}, the direct {direct:.1e}",))
    taken = timer({"torch": lambda: run(plain), name: lambda: run(swap)})
    before, after = taken["torch"], taken[name]
    listed = tuple(sorted(taken.items(), key=lambda pair: pair[1]))
    if after > 0.98 * before:
        return replace(kept, ms_before=before, ms_after=before, candidates=listed)
    conv.__class__ = swap
    return replace(
        kept,
        strategy=name,
        ms_before=before,
        ms_after=after,
        max_difference=far,
        candidates=listed,
        error=error,
        direct_error=direct,
    )
