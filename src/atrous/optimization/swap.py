"""A model whose convolutions run by our kernels, module by module; it can be trained.

Used where training is asked for, and where a model cannot be traced as a whole.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from atrous.frameworks.modules import beside
from atrous.frameworks.structures import mapped
from atrous.frameworks.torch import (
    in_mode,
    is_watched,
)
from atrous.geometry import Window, torch_pads
from atrous.operators.convolution import Convolution
from atrous.operators.directions import PLAINLY, Directions, conv_directed, has_ways
from atrous.operators.kernels.torch_ops import conv_depthwise
from atrous.operators.strategies import is_channels_last
from atrous.optimization.directed import chosen_directions
from atrous.optimization.layer.call import LayerCall, laid_out
from atrous.optimization.layer.choose import GAIN, difference, tolerance
from atrous.optimization.layer.ways import PLAIN
from atrous.optimization.order import Order
from atrous.optimization.records import LayerChoice, Layout
from atrous.optimization.slow_path import slow_path

__all__ = ["Swapped", "has_maps", "run_laid_out", "shared_copy", "swapped"]

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


class _Directed:
    """The forward of a dense convolution of which each direction runs by a way of its own."""

    ways: Directions

    def forward(self: Any, x: torch.Tensor) -> torch.Tensor:
        """The convolution; by PyTorch where it is not float32 here, traced, or without outputs."""
        if not is_watched() and _is_ours(self, x):
            call = convolution_of(self, x)
            if has_ways(self.ways, call):
                return conv_directed(x, self.weight, self.bias, call, self.ways)
        made: torch.Tensor = super().forward(x)  # type: ignore[misc]
        return made


class DirectedConv1d(_Directed, nn.Conv1d):
    """`nn.Conv1d` with a way for each direction."""


class DirectedConv2d(_Directed, nn.Conv2d):
    """`nn.Conv2d` with a way for each direction."""


class DirectedConv3d(_Directed, nn.Conv3d):
    """`nn.Conv3d` with a way for each direction."""


_SWAPS: dict[type[nn.Module], type[nn.Module]] = {
    nn.Conv1d: DepthwiseConv1d,
    nn.Conv2d: DepthwiseConv2d,
    nn.Conv3d: DepthwiseConv3d,
}
_DENSE: dict[type[nn.Module], type[nn.Module]] = {
    nn.Conv1d: DirectedConv1d,
    nn.Conv2d: DirectedConv2d,
    nn.Conv3d: DirectedConv3d,
}


@dataclass(frozen=True, slots=True)
class Swapped:
    """A copy with the original's parameters in which some layers run otherwise, and which.

    `writes` says that the model writes into its input.
    """

    model: nn.Module
    layers: tuple[LayerChoice, ...]
    writes: bool = False


def _is_ours(conv: Any, x: torch.Tensor) -> bool:
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
    """A copy of the modules that has the same parameters and buffers, not copies of them.

    Nor of what it holds beside: its hooks write to where the original's do.
    """
    kept = [*model.parameters(), *model.buffers(), *beside(model)]
    memo: dict[int, Any] = {id(one): one for one in kept}
    return copy.deepcopy(model, memo)


def swapped(order: Order, layout: Layout) -> Swapped:
    """The model with each layer by our kernels where those are faster and give the same.

    Measured on what the layer gets when the model runs on the inputs in that layout: forward, and
    the gradients as well where it is for training. Layers that are alike are measured once.
    """
    made = shared_copy(order.model)
    layers = [(path, part) for path, part in made.named_modules() if _may_be(part)]
    seen, given, writes = _caught(made, layers, order, layout)
    tried: dict[str, Tried] = {}
    rows: list[LayerChoice] = []
    for at, (path, conv) in enumerate(layers):
        order.progress(path, at / len(layers))
        if (call := seen.get(path)) is None:
            continue
        key = call.signature
        if key not in tried:
            tried[key] = _tried(conv, call, given.pop(key), order)
        found = tried[key]
        if found.kind is not None:
            conv.__class__ = found.kind
            if isinstance(conv, _Directed):
                conv.ways = found.ways
        rows.append(replace(found.row, layer=path))
    return Swapped(made, tuple(rows), writes)


def run_laid_out(model: Any, layout: Layout, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """What the model makes of maps in that layout; what it returns is contiguous again.

    Maps that lie so already are the user's own way, and what is made of them stays as it is.
    """
    maps = [x for x in (*args, *kwargs.values()) if _has_layouts(x)]
    if layout == "contiguous" or all(map(is_channels_last, maps)):
        return model(*args, **kwargs)
    given = [laid_out(x, layout) if _has_layouts(x) else x for x in args]
    named = {key: laid_out(x, layout) if _has_layouts(x) else x for key, x in kwargs.items()}
    made = model(*given, **named)
    return mapped(made, _contiguous_again)


def _contiguous_again(made: Any) -> Any:
    """A tensor whose elements lie in order; what is only spread out over memory stays."""
    if type(made) is not torch.Tensor or made.layout != torch.strided:
        return made
    return made if 0 in made.stride() else made.contiguous()


def has_maps(inputs: Sequence[Any]) -> bool:
    """Whether one of them has a layout beside the contiguous one."""
    return any(map(_has_layouts, inputs))


def _has_layouts(x: Any) -> bool:
    return type(x) is torch.Tensor and x.dim() in (4, 5) and x.is_floating_point()


def _may_be(conv: Any) -> bool:
    """Whether a module is one that our kernels may run."""
    kind = type(conv)
    if kind not in _SWAPS or conv.padding_mode != "zeros":
        return False
    if conv.in_channels == conv.groups > 1:
        return conv.weight.dtype in (torch.float32, torch.float64)
    dense = conv.groups == 1 and conv.weight.dtype == torch.float32
    return bool(dense and max(conv.kernel_size) > 1)


def _caught(
    model: nn.Module, layers: Sequence[tuple[str, nn.Module]], order: Order, layout: Layout
) -> tuple[dict[str, LayerCall], dict[str, torch.Tensor], bool]:
    """The last call of each of these layers, an input of each that is unlike the others.

    And whether the model wrote into what it was given.
    """
    seen: dict[str, LayerCall] = {}
    given: dict[str, torch.Tensor] = {}

    def catcher(path: str) -> Callable[..., None]:
        def catch(conv: Any, args: tuple[Any, ...]) -> None:
            if args and isinstance(args[0], torch.Tensor):
                x = args[0].detach()
                call = seen[path] = _call_as_met(conv, x)
                if call.signature not in given:
                    given[call.signature] = x.clone()

        return catch

    hooks = [part.register_forward_pre_hook(catcher(path)) for path, part in layers]
    moved = layout != "contiguous"
    inputs = [
        laid_out(x, layout).clone() if moved and _has_layouts(x) else x.clone()
        for x in order.inputs
    ]
    try:
        with torch.no_grad(), in_mode(model, training=False):
            model(*inputs)
    finally:
        for hook in hooks:
            hook.remove()
    writes = any(difference(*pair) > 0 for pair in zip(order.inputs, inputs, strict=True))
    return seen, given, writes


def _call_as_met(conv: Any, x: torch.Tensor) -> LayerCall:
    return LayerCall(
        "conv",
        tuple(x.shape),
        tuple(conv.weight.shape),
        conv.bias is not None,
        Window.of_axes(conv.kernel_size, conv.stride, conv.dilation, padding_of(conv)),
        conv.groups,
        dtype=str(x.dtype).removeprefix("torch."),
        layout="channels_last" if is_channels_last(x) else "contiguous",
    )


@dataclass(frozen=True, slots=True)
class Tried:
    """What runs layers that are alike: their class and ways, or None for PyTorch's; and a row."""

    row: LayerChoice
    kind: type[nn.Module] | None = None
    ways: Directions = PLAINLY


def _tried(conv: Any, call: LayerCall, x: torch.Tensor, order: Order) -> Tried:
    slow = ""
    if not isinstance(conv.padding, str):
        with torch.no_grad():
            settings = (conv.stride, conv.padding, conv.dilation, conv.groups)
            slow = slow_path(x, conv.weight, conv.bias, *settings)
    row = LayerChoice("", call.title, PLAIN, 0.0, 0.0, 0.0, slow_path=slow)
    if conv.groups > 1:
        return _depthwise(conv, call, x, order, row)
    if x.dim() != conv.weight.dim():
        return Tried(replace(row, why=("winograd, taps: its input has no batch.",)))
    if x.dtype != torch.float32:
        return Tried(row)
    bias = None if conv.bias is None else conv.bias.detach()
    found = chosen_directions(call, conv.weight.detach(), bias, x, order)
    row = replace(
        row,
        strategy=str(found.ways),
        ms_before=found.before,
        ms_after=found.after,
        max_difference=found.difference,
        candidates=found.candidates,
        why=found.why,
        error=found.error,
        direct_error=found.direct,
    )
    if found.ways == PLAINLY:
        return Tried(row)
    return Tried(row, _DENSE[type(conv)], found.ways)


def _depthwise(
    conv: Any, call: LayerCall, x: torch.Tensor, order: Order, row: LayerChoice
) -> Tried:
    """A layer with a group for each channel: all directions by our kernels, or by PyTorch."""
    plain, swap, name = type(conv), _SWAPS[type(conv)], "depthwise kernel"

    def run(kind: type[nn.Module]) -> list[torch.Tensor]:
        conv.__class__ = kind
        try:
            if not order.training:
                with torch.no_grad():
                    return [conv(x)]
            given = x.detach().requires_grad_()
            wanted = [given, *(p for p in conv.parameters() if p.requires_grad)]
            with torch.enable_grad():
                result = conv(given)
                return [result.detach(), *torch.autograd.grad(result.sum(), wanted)]
        finally:
            conv.__class__ = plain

    try:
        old, new = run(plain), run(swap)
        far = max(difference(one, two) for one, two in zip(old, new, strict=True))
    except (RuntimeError, TypeError, ValueError) as failed:
        reason = (str(failed).splitlines() or [""])[0][:120]
        return Tried(replace(row, why=(f"{name}: {reason}",)))
    if far > tolerance(x.dtype):
        return Tried(replace(row, why=(f"{name}: differs by {far:.1e}",)))
    key = f"{'trained' if order.training else 'module'} {call.signature}"
    taken = order.choices.get(key)
    if taken is None or not {PLAIN, name} <= taken.keys():
        taken = order.timer({PLAIN: lambda: run(plain), name: lambda: run(swap)})
        order.choices.put(key, taken)
    before, after = taken[PLAIN], taken[name]
    listed = tuple(sorted(taken.items(), key=lambda pair: pair[1]))
    row = replace(row, ms_before=before, ms_after=before, candidates=listed)
    if after > GAIN * before:
        return Tried(row)
    return Tried(replace(row, strategy=name, ms_after=after, max_difference=far), swap)
