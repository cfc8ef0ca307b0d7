"""What one Keras layer becomes where its windows, paddings or sizes change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
from keras import layers

from atrous.geometry import Window, same_upper
from atrous.network.ops import Conv, Op, Pad, Pool, Reshape, Resize
from atrous.refusal import Refusal

__all__ = ["Changed", "changed_layer", "depends_on_size"]

_SLID = (
    layers.Conv1D,
    layers.Conv2D,
    layers.Conv3D,
    layers.DepthwiseConv1D,
    layers.DepthwiseConv2D,
    layers.SeparableConv1D,
    layers.SeparableConv2D,
)
_POOLS = (
    layers.MaxPooling1D,
    layers.MaxPooling2D,
    layers.MaxPooling3D,
    layers.AveragePooling1D,
    layers.AveragePooling2D,
    layers.AveragePooling3D,
)
_PADS = (layers.ZeroPadding1D, layers.ZeroPadding2D, layers.ZeroPadding3D)
_CROPS = (layers.Cropping1D, layers.Cropping2D, layers.Cropping3D)
_PART = "convert the part before it (outputs=...)"

Pairs = tuple[tuple[int, int], ...]


@dataclass(slots=True)
class Changed:
    """A layer that takes the place of another, and what is done to its input first.

    `pads` are cut off where negative, and filled with `value` where positive. `rates` are those of
    a pool, which has none of its own: its taps are then crops of one map, joined by `layer`.
    """

    layer: Any
    pads: Pairs = ()
    value: float = 0.0
    name: str = ""
    last: bool = True
    kernel: tuple[int, ...] = ()
    rates: tuple[int, ...] = ()
    made: dict[str, Any] = field(default_factory=dict)

    def __call__(self, x: Any, **given: Any) -> Any:
        """What the layer makes of its input."""
        x = self._padded(x)
        if not self.rates:
            return self.layer(x, **given)
        rank = len(self.kernel)
        for axis, (kernel, rate) in enumerate(zip(self.kernel, self.rates, strict=True)):
            if kernel == 1:
                continue
            taps = []
            for tap in range(kernel):
                pairs = [(0, 0)] * rank
                pairs[axis] = (tap * rate, (kernel - 1 - tap) * rate)
                taps.append(self._slid(_CROPS, tuple(pairs), f"tap{axis}_{tap}")(x))
            last = all(k == 1 for k in self.kernel[axis + 1 :])
            join = self.layer if last else self._once(type(self.layer), f"along{axis}")
            x = join(taps)
        return x

    def _padded(self, x: Any) -> Any:
        cut = tuple((max(-lo, 0), max(-hi, 0)) for lo, hi in self.pads)
        more = tuple((max(lo, 0), max(hi, 0)) for lo, hi in self.pads)
        if any(map(any, cut)):
            x = self._slid(_CROPS, cut, "atrous_crop")(x)
        if not any(map(any, more)):
            return x
        if not self.value:
            return self._slid(_PADS, more, "atrous_pad")(x)
        inside = ((0, 0), *more, (0, 0)) if self.last else ((0, 0), (0, 0), *more)
        return keras.ops.pad(x, inside, "constant", constant_values=self.value)

    def _slid(self, kinds: Sequence[Any], pairs: Pairs, what: str) -> Any:
        rank = len(pairs)
        given: dict[str, Any] = {"padding" if kinds is _PADS else "cropping": pairs}
        if rank == 1:
            given = dict.fromkeys(given, pairs[0])
        else:
            given["data_format"] = "channels_last" if self.last else "channels_first"
        return self._once(kinds[rank - 1], what, **given)

    def _once(self, kind: Any, what: str, **given: Any) -> Any:
        if what not in self.made:
            self.made[what] = kind(name=f"{self.name}_{what}", **given)
        return self.made[what]


def depends_on_size(layer: Any, changed: Changed) -> bool:
    """Whether what a layer becomes would be something else at another size of its map."""
    strides = getattr(layer, "strides", (1,))
    same = str(getattr(layer, "padding", "")).lower() == "same"
    return bool(changed.pads) or (same and any(s > 1 for s in strides))


def changed_layer(layer: Any, name: str, before: Op, after: Op) -> Changed | Refusal:
    """The layer for an op that has changed, or why there is none."""
    if isinstance(layer, _SLID) and isinstance(after, Conv):
        return _convolution(layer, name, after.windows)
    if isinstance(layer, _POOLS) and isinstance(before, Pool) and isinstance(after, Pool):
        return _pool(layer, name, before, after)
    if isinstance(layer, _PADS) and isinstance(after, Pad) and not after.phases:
        return _settings(layer, padding=_pairs(after.pads))
    if isinstance(layer, _CROPS) and isinstance(after, Pad):
        return _settings(layer, cropping=_pairs(tuple((-lo, -hi) for lo, hi in after.pads)))
    if isinstance(layer, layers.Resizing) and isinstance(after, Resize):
        return _settings(layer, height=after.sizes[0], width=after.sizes[1])
    if isinstance(layer, layers.Reshape) and isinstance(after, Reshape):
        return _settings(layer, target_shape=after.shape[1:])
    kind = type(layer).__name__
    return Refusal(
        "layer", name, f"a {kind} has no settings for what it would become here; {_PART}."
    )


def _settings(layer: Any, **given: Any) -> Changed:
    return Changed(type(layer).from_config({**layer.get_config(), **given}), name=layer.name)


def _pairs(pairs: Pairs) -> Any:
    return pairs[0] if len(pairs) == 1 else pairs


def _convolution(layer: Any, name: str, windows: tuple[Window, ...]) -> Changed | Refusal:
    strides, rates = (tuple(getattr(w, key) for w in windows) for key in ("stride", "dilation"))
    if any(s > 1 for s in strides) and any(r > 1 for r in rates):
        return Refusal(
            "layer",
            name,
            f"it would have strides {strides} and rates {rates}, and no layer of Keras has both; "
            f"ask for another output stride, or {_PART}.",
        )
    causal = str(layer.padding).lower() == "causal"
    padding, pads = _keras_padding(windows, causal)
    refusal = _cannot_pad(layer, name, pads)
    if refusal is not None:
        return refusal
    made = _settings(layer, strides=strides, dilation_rate=rates, padding=padding)
    made.pads, made.last = pads, layer.data_format == "channels_last"
    return made


def _keras_padding(windows: tuple[Window, ...], causal: bool = False) -> tuple[str, Pairs]:
    """How Keras names the paddings of these windows, or those that are to come before `valid`."""
    pads = tuple(w.padding for w in windows)
    if not any(map(any, pads)):
        return "valid", ()
    if causal and pads == ((windows[0].extent - 1, 0),):
        return "causal", ()
    if all(
        w.stride == 1 and w.padding == same_upper(w.kernel, w.kernel, 1, w.dilation)
        for w in windows
    ):
        return "same", ()
    return "valid", pads


def _cannot_pad(layer: Any, name: str, pads: Pairs) -> Refusal | None:
    if pads and len(pads) == 1 and layer.data_format != "channels_last":
        text = f"it needs paddings before it, which Keras has for channels last alone; {_PART}."
        return Refusal("layer", name, text)
    return None


def _pool(layer: Any, name: str, before: Pool, after: Pool) -> Changed | Refusal:
    windows = after.windows
    strides, rates = (tuple(getattr(w, key) for w in windows) for key in ("stride", "dilation"))
    dilated = any(w.dilation > 1 and w.kernel > 1 for w in windows)
    padding, pads = _keras_padding(windows)
    if dilated and any(s > 1 for s in strides):
        return Refusal(
            "layer", name, f"it would be dilated and strided, and pools of Keras are not; {_PART}."
        )
    average = after.how == "average"
    if dilated:
        pads = tuple(w.padding for w in windows)
    # Windows on the old grid lay inside the map, so what they divide by is as before.
    inside = not any(any(w.padding) for w in before.windows)
    if average and pads and any(map(any, pads)) and not inside:
        return Refusal(
            "layer",
            name,
            "it is an average that leaves its padding out of the count, which no pool of Keras "
            f"does at these rates and paddings; {_PART}.",
        )
    refusal = _cannot_pad(layer, name, pads)
    if refusal is not None:
        return refusal
    if dilated:
        join = layers.Average if average else layers.Maximum
        made = Changed(join(name=layer.name), kernel=after.kernel, rates=rates)
    else:
        made = _settings(layer, strides=strides, padding=padding)
    made.pads, made.name = pads, layer.name
    made.value = 0.0 if average else float("-inf")
    made.last = layer.data_format == "channels_last"
    return made
