"""A plan's changes as attributes of PyTorch modules; what they cannot express is handed on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from atrous.conversion.edits import Edit
from atrous.conversion.plan import OpChange
from atrous.errors import AtrousError
from atrous.geometry import Dense, Window
from atrous.network import Node
from atrous.network.folded_pads import folded
from atrous.network.ops import Conv, ConvTranspose, Op, Pad, Pool
from atrous.readers.torch.reader import read_torch
from atrous.refusal import Refusal
from atrous.writers.torch.layers import AvgPool, Count, PadInput, PhasePad

__all__ = ["Layer", "does_as_meant", "edit_layer", "is_layer"]

_CONVS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_MAX = (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d)
_AVG = (nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d)
_PADS = (
    nn.modules.padding._ConstantPadNd,
    nn.modules.padding._ReflectionPadNd,
    nn.modules.padding._ReplicationPadNd,
    nn.modules.padding._CircularPadNd,
)
_LAYERS = (*_CONVS, *_TRANSPOSED, *_MAX, *_AVG, *_PADS, AvgPool, PhasePad)
# Modules whose forward hands its attributes to the one function that they are named after.
_PLAIN = {*_CONVS, *_MAX}


@dataclass(frozen=True, slots=True)
class Layer:
    """One module that a plan changes, and what its window becomes.

    `path` is its name, `sizes` the spatial sizes of its input, `change` the change of its op (its
    own padding folded in). `dense` are its windows where the code around it padded so far.
    """

    path: str
    module: nn.Module
    shape: tuple[int, ...]
    change: OpChange
    dense: tuple[Dense, ...] = ()


def is_layer(module: nn.Module) -> bool:
    """True for a module that is one windowed layer, with attributes that say which."""
    return isinstance(module, _LAYERS)


def edit_layer(layer: Layer) -> tuple[nn.Module, list[Edit]] | Refusal:
    """The module with its change made, and the edits: in place where attributes can say it.

    What comes back is another module where they cannot: an average pool with a rate, a padding
    that must act on each phase. Refused where the module does not do what its attributes say.
    """
    module, change = layer.module, layer.change
    if isinstance(change.after, Pad):
        return _edit_padding(layer)
    if isinstance(module, (*_AVG, AvgPool)):
        return _edit_average(layer)
    if isinstance(change.after, ConvTranspose):
        return _edit_transposed(layer)
    if isinstance(module, (*_CONVS, *_MAX)):
        return _edit_windowed(layer)
    return Refusal("module", layer.path, f"a {type(module).__name__} has no windows to change.")


def _copied(module: nn.Module) -> Any:
    """The module once more, with the same parameters, buffers and submodules.

    Not `copy.copy`, which parametrized modules (weight norm) refuse.
    """
    kind: Any = type(module)
    made = kind.__new__(kind)
    made.__dict__.update(module.__dict__)
    return made


def _edit_windowed(layer: Layer) -> tuple[nn.Module, list[Edit]] | Refusal:
    """A convolution or max pool, by attributes; at need with its padding as a pre-hook."""
    module = layer.module
    assert isinstance(layer.change.after, Conv | Pool)
    before = _described(module)
    dense = layer.dense or _same(layer, layer.change.at_any_size)
    tries: list[Any] = []
    fixed = [one.fixed if one.same is None else None for one in dense]
    if not layer.change.dense:
        fixed = [one.window for one in dense]
    even = all(w is not None and w.pad_lo == w.pad_hi and _fits_max(module, w) for w in fixed)
    if even:
        tries.append(_by_attributes)
    own = _padding_children(layer)
    tries += [_by_hook, _by_hook_without_same, _by_base_class]
    if own:
        tries.append(lambda tried, dense: _by_hook_for(tried, dense, own))
    for attempt in tries:
        tried = _copied(module)
        # A copy shares parameters and buffers; its hooks are its own.
        tried._forward_pre_hooks = type(module._forward_pre_hooks)(module._forward_pre_hooks)
        if not attempt(tried, dense):
            continue
        if type(tried) in _PLAIN or does_as_meant(tried, layer.shape, layer.change.after):
            return tried, _edits(layer.path, before, _described(tried))
    return Refusal(
        "module",
        layer.path,
        f"a {type(module).__name__} does not run the window that its attributes give; replace it "
        "by a plain layer.",
    )


def _fits_max(module: nn.Module, window: Window) -> bool:
    # PyTorch's max pools take a padding of at most half the kernel, whatever the rate.
    return not isinstance(module, _MAX) or window.pad_lo <= window.kernel // 2


def _set(module: Any, windows: Sequence[Window], *, padding: bool) -> None:
    whole = isinstance(module.stride, int)
    module.stride = _spread([w.stride for w in windows], whole)
    module.dilation = _spread([w.dilation for w in windows], whole)
    module.padding = _spread([w.pad_lo if padding else 0 for w in windows], whole)
    if hasattr(module, "ceil_mode"):
        module.ceil_mode = False
    if hasattr(module, "_reversed_padding_repeated_twice"):
        pads = [w.pad_lo if padding else 0 for w in windows]
        module._reversed_padding_repeated_twice = [p for p in reversed(pads) for _ in range(2)]


def _spread(values: list[int], whole: bool) -> Any:
    return values[0] if whole and len(set(values)) == 1 else tuple(values)


def _unhook(module: nn.Module) -> None:
    for key, hook in list(module._forward_pre_hooks.items()):
        if isinstance(hook, PadInput):
            del module._forward_pre_hooks[key]


def _mirrors(module: Any) -> bool:
    """True where a module pads with anything but a constant; a padding of 0 has no mode."""
    given = module.padding if isinstance(module.padding, tuple) else (module.padding,)
    return getattr(module, "padding_mode", "zeros") != "zeros" and any(given)


def _by_attributes(module: Any, dense: Sequence[Dense]) -> bool:
    if _mirrors(module):
        return False
    _unhook(module)
    windows = [one.fixed or one.window for one in dense]
    _set(module, windows, padding=True)
    return True


def _by_hook(module: Any, dense: Sequence[Dense]) -> bool:
    if _mirrors(module):
        return False
    _unhook(module)
    windows = [one.unpadded for one in dense]
    _set(module, windows, padding=False)
    value = float("-inf") if isinstance(module, _MAX) else 0.0
    module.register_forward_pre_hook(PadInput(dense, value))
    return True


def _by_hook_without_same(module: Any, dense: Sequence[Dense]) -> bool:
    # timm's standardized convolutions say by this attribute whether they pad as TensorFlow does.
    if not getattr(module, "same_pad", False):
        return False
    module.same_pad = False
    return _by_hook(module, dense)


def _padding_children(layer: Layer) -> tuple[str, ...]:
    """The modules inside a layer that do nothing but pad."""
    found = []
    for name, child in layer.module._modules.items():
        if child is None or any(True for _ in (*child.parameters(), *child.buffers())):
            continue
        shapes = [(*layer.shape[:2], *(n + more for n in layer.shape[2:])) for more in (0, 1)]
        kinds = [{type(node.op) for node in _nodes(child, shape)} for shape in shapes]
        if any(kinds) and all(kind <= {Pad} for kind in kinds):
            found.append(name)
    return tuple(found)


def _by_hook_for(module: Any, dense: Sequence[Dense], own: Sequence[str]) -> bool:
    """As `_by_hook`, in the place of modules inside that pad."""
    gone = {name: nn.Identity().train(module.training) for name in own}
    module._modules = {**module._modules, **gone}
    return _by_hook(module, dense)


def _by_base_class(module: Any, dense: Sequence[Dense]) -> bool:
    """As the plain class, where a subclass only pads in its own way."""
    base = next(k for k in (*_CONVS, *_MAX) if isinstance(module, k))
    if type(module) is base or not _only_pads(module, base):
        return False
    module.__class__ = base
    return _by_hook(module, dense)


def _only_pads(module: nn.Module, base: type) -> bool:
    names = {cls.__name__ for cls in type(module).__mro__[: type(module).__mro__.index(base)]}
    return all(name.endswith("Same") and name == f"{base.__name__}Same" for name in names)


def does_as_meant(module: nn.Module, shape: tuple[int, ...], wanted: Op) -> bool:
    """Whether the module runs the window that it is meant to, as an export of it shows."""
    op = _read(module, shape)
    if type(op) is not type(wanted):
        return False
    assert isinstance(wanted, Conv | Pool)
    return bool(getattr(op, "windows", None) == wanted.windows)


def _read(module: nn.Module, shape: tuple[int, ...]) -> Any:
    """The one windowed op that a module is at that input shape, or None."""
    found = [n.op for n in _nodes(module, shape) if isinstance(n.op, Conv | Pool | Pad)]
    return found[0] if len(found) == 1 else None


def _nodes(module: nn.Module, shape: tuple[int, ...]) -> tuple[Node, ...]:
    """What a module does at that input shape; nothing where it is not read."""
    try:
        return folded(read_torch(_Only(module), shape, eager=False), around=True).nodes
    except AtrousError:
        return ()


class _Only(nn.Module):
    """A module by itself, under a name."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.layer(x)
        return out


def _same(layer: Layer, dense: tuple[Dense, ...]) -> tuple[Dense, ...]:
    """The windows with their padding named where the module works it out anew at each size."""
    if type(layer.module) in _PLAIN | set(_AVG) or not layer.change.dense:
        return dense
    if isinstance(layer.module, AvgPool):
        return dense
    shape = layer.shape
    rank = len(dense)
    pads: list[set[tuple[int, int]]] = [set() for _ in dense]
    named = tuple(
        replace(one, window=one.window.unpadded, same="same_upper", padded=0) for one in dense
    )
    follows = True
    for more in range(max(one.window.stride for one in dense) + 1):
        # At its own sizes the module stands before any removed stride.
        sizes = [8 * one.window.extent + more for one in dense]
        op = _read(layer.module, (*shape[:-rank], *sizes))
        if not isinstance(op, Conv | Pool):
            return dense
        for index, (window, size) in enumerate(zip(op.windows, sizes, strict=True)):
            pads[index].add(window.padding)
            own = replace(named[index], factor=1, stride=window.stride).original(size)
            follows &= own.padding == window.padding
    if follows and any(len(found) > 1 for found in pads):
        return named
    return dense


def _edit_average(layer: Layer) -> tuple[nn.Module, list[Edit]] | Refusal:
    """An average pool: PyTorch's own where there is no rate, ours where there is one."""
    module: Any = layer.module
    before = _described(module)
    dense = _same(layer, layer.change.at_any_size)
    if not layer.change.dense:
        back = _back(module, dense)
        if back is not None:
            return back, _edits(layer.path, before, _described(back))
    windows = [one.fixed for one in dense]
    if type(module) in _AVG and all(
        w is not None and w.dilation == 1 and w.pad_lo == w.pad_hi for w in windows
    ):
        tried = _copied(module)
        held = [w for w in windows if w is not None]
        whole = isinstance(module.stride, int)
        tried.stride = _spread([w.stride for w in held], whole)
        tried.padding = _spread([w.pad_lo for w in held], whole)
        tried.ceil_mode = False
        return tried, _edits(layer.path, before, _described(tried))
    if isinstance(module, AvgPool):
        made = AvgPool(dense, module.count, module.divisor, module.original[0])
    else:
        # What a module pads by itself is part of the map that it averages.
        count: Count = "inside"
        if module.count_include_pad or type(module) not in _AVG:
            count = "padded"
        divisor = getattr(module, "divisor_override", None)
        if divisor is not None and len(dense) > 1:
            divisor = int(divisor)
        made = AvgPool(dense, count, divisor, module)
    made.train(module.training)
    return made, _edits(layer.path, before, _described(made))


def _back(module: nn.Module, dense: Sequence[Dense]) -> nn.Module | None:
    """PyTorch's pool again, where its window has no rate any more."""
    windows = [one.window for one in dense]
    if any(w.dilation > 1 for w in windows):
        return None
    if isinstance(module, AvgPool):
        original = module.original[0]
        if original is not None and _as_windows(original) == [
            (w.kernel, w.stride) for w in windows
        ]:
            return original.train(module.training)
        return None
    if any(w.pad_lo != w.pad_hi for w in windows) or type(module) not in _AVG:
        return None
    tried: Any = _copied(module)
    whole = isinstance(tried.stride, int)
    tried.stride = _spread([w.stride for w in windows], whole)
    tried.padding = _spread([w.pad_lo for w in windows], whole)
    made: nn.Module = tried
    return made


def _as_windows(pool: Any) -> list[tuple[int, int]]:
    rank = int(next(k.__name__ for k in type(pool).__mro__ if k in _AVG)[-2])

    def spread(value: Any) -> tuple[int, ...]:
        values = tuple(value) if isinstance(value, list | tuple) else (value,)
        return values * rank if len(values) == 1 else values

    return list(zip(spread(pool.kernel_size), spread(pool.stride), strict=True))


def _edit_transposed(layer: Layer) -> tuple[nn.Module, list[Edit]] | Refusal:
    module: Any = _copied(layer.module)
    before = _described(module)
    op = layer.change.after
    assert isinstance(op, ConvTranspose)
    if any(lo != hi for lo, hi in op.padding):
        return Refusal("module", layer.path, "its padding would differ from side to side.")
    module.dilation = op.dilation
    module.padding = tuple(lo for lo, _ in op.padding)
    return module, _edits(layer.path, before, _described(module))


def _edit_padding(layer: Layer) -> tuple[nn.Module, list[Edit]] | Refusal:
    """A padding module: more of it, or each phase by itself."""
    module: Any = layer.module
    op, was = layer.change.after, layer.change.before
    assert isinstance(op, Pad)
    assert isinstance(was, Pad)
    before = _described(module)
    if isinstance(module, PhasePad) or op.phases:
        factors = [one.factor for one in layer.change.dense] or [1] * len(was.pads)
        held = [one.window.padding for one in layer.change.dense]
        if isinstance(module, PhasePad):
            return Refusal("module", layer.path, "it pads phases already.")
        made: nn.Module = PhasePad(held or was.pads, factors, op.mode)
        made.train(module.training)
        return made, _edits(layer.path, before, _described(made))
    made = _copied(module)
    made.padding = tuple(n for lo, hi in reversed(op.pads) for n in (lo, hi))
    return made, _edits(layer.path, before, _described(made))


_SHOWN = ("stride", "padding", "dilation", "ceil_mode", "same_pad")


def _described(module: nn.Module) -> dict[str, Any]:
    """What of a module an edit may touch, as it is printed."""
    found: dict[str, Any] = {"class": type(module).__name__}
    if isinstance(module, PhasePad):
        return found | {"window": module.extra_repr()}
    if isinstance(module, AvgPool):
        windows = [one.window for one in module.dense]
        return found | {
            "stride": tuple(one.stride for one in module.dense),
            "padding": _shown_padding(module.dense),
            "dilation": tuple(
                one.factor * window.dilation
                for one, window in zip(module.dense, windows, strict=True)
            ),
        }
    for name in _SHOWN:
        value = getattr(module, name, None)
        if value is not None:
            found[name] = value
    hook = next((h for h in module._forward_pre_hooks.values() if isinstance(h, PadInput)), None)
    if hook is not None:
        found["input padding"] = _shown_padding(hook.dense)
    return found


def _shown_padding(dense: Sequence[Dense]) -> str:
    """The low end of each window's padding; the high end keeps the size of the map."""
    parts = []
    for one in dense:
        w = one.window
        low = f"{one.factor} x SAME" if one.same else f"{one.factor * w.pad_lo}"
        parts.append(f"{low}+(to size)")
    return " ".join(dict.fromkeys(parts))


def _edits(path: str, before: dict[str, Any], after: dict[str, Any]) -> list[Edit]:
    names = list(dict.fromkeys([*before, *after]))
    if before["class"] != after["class"]:
        names = ["class", *(n for n in after if n != "class")]
    return [
        Edit(path, name, before.get(name), after.get(name))
        for name in names
        if before.get(name) != after.get(name)
    ]
