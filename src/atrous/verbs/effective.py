"""`effective`: how strongly one output depends on each input position, measured by gradients."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from atrous.analysis import Inspection, Layer, inspect_network
from atrous.analysis.effective import check_share, effective_box
from atrous.analysis.effective_field import EffectiveField, Inputs, Weights
from atrous.analysis.footprint import Footprint
from atrous.errors import (
    ArgumentError,
    AtrousError,
    ReadError,
    UnsupportedError,
    concerning,
    unknown,
)
from atrous.progress import step
from atrous.readers.given import is_shape, shapes_of
from atrous.readers.kind import kind_of, source_name
from atrous.readers.named import parse
from atrous.readers.source import made_of, read_unrun, sized

__all__ = ["effective"]

_MOST_SEEDS = 1 << 63
_MOST_SAMPLES = 1_000_000
_WEIGHTS = ("given", "random", "counted")
# Of ImageNet, as classifiers are trained on it.
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def effective(
    source: Any,
    input: Any = None,
    *,
    layer: str | None = None,
    at: int | Sequence[int] | None = None,
    weights: Weights | None = None,
    images: Any = None,
    samples: int = 8,
    share: float = 0.95,
    seed: int = 0,
    rate: Any = None,
    pixel: Any = None,
) -> EffectiveField:
    """How strongly output position `at` of `layer` depends on each input position.

    Of a PyTorch module or exported program by gradients (Luo et al. 2016), averaged over `samples`
    inputs drawn from a normal distribution, over the rows of an example tensor, or over `images`:
    paths or Pillow images, which are resized to the input and scaled as for ImageNet. `layer` is
    any name of `inspect`, its last output unless given; `at` its middle. `weights` are "given", the
    model's own; "random", drawn anew by `seed` in a copy, as models that a library has under a name
    get where no file of weights is given; or "counted": none, but the number of
    paths, which zoo networks, stacks and `Network`s get, and any source may. `rate` and `pixel` are
    those of `Inspection.scaled`.

    Raises `UnsupportedError` for gradients of an ONNX file, or where there are none, `ReadError`
    and `GeometryError` for what is no source, input, share or position.

    >>> import atrous
    >>> found = atrous.effective("stack:" + "k3 " * 10, (1, 1, 64, 64))
    >>> found.size, found.box.size, found.paths.size
    ((21, 21), (17, 17), (13, 13))
    """
    if weights is not None and weights not in _WEIGHTS:
        raise unknown("kind of weights", str(weights), _WEIGHTS)
    if type(samples) is not int or not 1 <= samples <= _MOST_SAMPLES:
        raise ArgumentError(f"samples is {samples!r}; draw 1 to {_MOST_SAMPLES:,}.")
    check_share(share)
    if not 0 <= seed < _MOST_SEEDS:
        raise ArgumentError(
            f"seed={seed} is no whole number from 0 to 2**63 - 1; give one that is."
        )
    model, usual = made_of(source)
    given = usual if input is None else input
    place = None if at is None else (at,) if isinstance(at, int) else tuple(at)
    model = sized(model, given)
    if kind_of(model) in ("module", "program") and weights != "counted":
        how = weights or _usual_weights(source)
        report, found = _measured(model, given, layer, place, how, images, samples, share, seed)
    else:
        report = inspect_network(read_unrun(model, given))
        if kind_of(model) in ("file", "message") and weights != "counted":
            raise UnsupportedError(
                f"{source_name(model)} is an ONNX model, which gives no gradients; give the "
                "PyTorch module that it was made of, or count paths: weights='counted'."
            )
        if weights in ("given", "random") or images is not None:
            raise UnsupportedError(
                "paths are counted without weights and without images; leave out weights=... and "
                "images=..., or give a PyTorch module."
            )
        found = _counted(report, _chosen(report, layer), place, share)
    if rate is None and pixel is None:
        return found
    return replace(found, scales=report.scaled(rate=rate, pixel=pixel).scales)


def _measured(
    model: Any,
    given: Any,
    layer: str | None,
    at: tuple[int, ...] | None,
    weights: Weights,
    images: Any,
    samples: int,
    share: float,
    seed: int,
) -> tuple[Inspection, EffectiveField]:
    """By gradients: of a copy where its weights are drawn."""
    from atrous.runners.effective_field import measured_field, with_drawn_weights

    inputs: Inputs = "random"
    rows = None
    if is_shape(given):
        given = (1, *tuple(given)[1:])
    elif hasattr(given, "detach"):
        inputs, rows, given = "given", given.detach(), given[:1]
    if weights == "random":
        if kind_of(model) == "program":
            raise UnsupportedError("an exported program keeps its weights; give its module.")
        step("drawing weights")
        model = with_drawn_weights(model, shapes_of(given), seed)
    report = inspect_network(read_unrun(model, given))
    chosen = _chosen(report, layer)
    source = report.network.tensor(report.input)
    if images is not None:
        inputs, rows = "images", _pictures(images, source.shape)
    with concerning(chosen.name):
        if chosen.node is None:
            raise ReadError("this is the input itself; name a layer behind it.")
        step(f"gradients of {chosen.name}")
        found = measured_field(
            model,
            given,
            report.network,
            node=chosen.node,
            source=report.input,
            at=at,
            samples=samples,
            seed=seed,
            rows=rows,
        )
    footprint, unknown_reads = _footprint(report, chosen, found.at)
    ran = report.network.ran
    notes = [f"its calls are those of a run on {ran}; another input may take another way"]
    return report, EffectiveField(
        network=report.network.name or "network",
        layer=chosen.name,
        at=found.at,
        axes=tuple(source.grid),
        weights=weights,
        inputs=inputs,
        samples=found.samples,
        seed=seed,
        share=share,
        density=found.density,
        notes=(*(notes if ran else ()), *unknown_reads),
        **_against(footprint, chosen, tuple(source.grid.values()), share),
    )


def _counted(
    report: Inspection, chosen: Layer, at: tuple[int, ...] | None, share: float
) -> EffectiveField:
    """By the roots of path counts."""
    import numpy as np

    with concerning(chosen.name):
        footprint = report.footprint(chosen.name, at)
    # Path counts may be too large for floats: scaled first, their roots are not.
    counts = footprint.counts
    density = np.sqrt((counts / max(counts.max(), 1)).astype(np.float64))
    mass = density.sum()
    return EffectiveField(
        network=report.network.name or "network",
        layer=chosen.name,
        at=footprint.at,
        axes=footprint.axes,
        weights="counted",
        inputs="none",
        samples=0,
        seed=0,
        share=share,
        density=density / mass if mass else density,
        **_against(footprint, chosen, footprint.shape, share),
    )


def _usual_weights(source: Any) -> Weights:
    """Drawn for models that a library makes without a file of weights: some branches start at 0."""
    if kind_of(source) == "library" and parse(source).weights is None:
        return "random"
    return "given"


def _chosen(report: Inspection, layer: str | None) -> Layer:
    return report.outputs[-1] if layer is None else report[layer]


def _footprint(
    report: Inspection, chosen: Layer, at: tuple[int, ...]
) -> tuple[Footprint | None, tuple[str, ...]]:
    try:
        return report.footprint(chosen.name, at), ()
    except AtrousError as error:
        return None, (f"its whole field is not known, so the input stands for it: {error}",)


def _against(
    footprint: Footprint | None, chosen: Layer, shape: tuple[int, ...], share: float
) -> dict[str, Any]:
    """What a density is compared with: the whole field, and the boxes of paths."""
    found: dict[str, Any] = {"mixed": chosen.globals, "paths": None, "roots": None}
    if footprint is None:
        found |= {"origin": (0,) * len(shape), "size": shape}
    else:
        found |= {"origin": footprint.origin, "size": footprint.box.shape}
    if footprint is not None:
        roots = (footprint.box / max(footprint.box.max(initial=1), 1)).astype(float) ** 0.5
        found["paths"] = effective_box(footprint.box, share, footprint.origin)
        found["roots"] = effective_box(roots, share, footprint.origin)
    return found


def _pictures(images: Any, shape: tuple[int, ...]) -> Any:
    """Images as one tensor of the input's size; tensors of that size as they are."""
    import numpy as np

    from atrous.draw.footprints import opened
    from atrous.runners.effective_field import stacked

    if hasattr(images, "detach"):
        if images.dim() != len(shape) or tuple(images.shape[1:]) != tuple(shape[1:]):
            raise ReadError(
                f"the images are {tuple(images.shape)} and the input {shape}; only the number of "
                "images may differ."
            )
        return images.detach()
    if len(shape) != 4 or shape[1] not in (1, 3):
        raise UnsupportedError(
            f"an input of {shape} is no image of 1 or 3 channels; give a tensor of samples."
        )
    single = isinstance(images, str | os.PathLike) or not isinstance(images, Sequence)
    pictures = []
    for image in [images] if single else images:
        # Pillow wants the width first.
        pixels = np.asarray(opened(image).resize((shape[3], shape[2])), dtype=np.float32) / 255
        scaled = ((pixels - _MEAN) / _DEVIATION).transpose(2, 0, 1)
        pictures.append(scaled if shape[1] == 3 else scaled.mean(axis=0, keepdims=True))
    if not pictures:
        raise ReadError("there are no images; give one or more, or leave them out.")
    return stacked(pictures)
