"""`audit_tiles`: what somebody else's tiler makes of an image, beside the whole run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from atrous.certification.tile_audit import FirstChanged, Looks, TileAudit, looks_of, tiled_output
from atrous.errors import ArgumentError, AtrousError
from atrous.network import Network, Tensor
from atrous.network.layout import has_axes
from atrous.progress import step
from atrous.readers.given import is_shape, shapes_of
from atrous.readers.kind import kind_of, source_name
from atrous.readers.source import made_of, read_unrun
from atrous.runners.tiled.whole import arrays_of, changed_from, drawn, run_whole

__all__ = ["audit_tiles", "images_of", "several"]


def audit_tiles(whole: Any, tiled: Callable[..., Any], *, input: Any) -> TileAudit:
    """What `tiled`, a function of the whole image, makes of it beside what the whole image gives.

    `whole` is a PyTorch module, an `.onnx` file or a function, `tiled` anything that should give
    the same: a sliding window that blends, an overlap that was guessed, a loop of one's own.
    `input` is an image, a tuple of several inputs, or a shape, for which a model draws random
    numbers. Both are called with the same inputs; the tiler also a few times with parts of them
    changed, which shows where its tiles begin.

    The result says how large the difference is and where, which share of positions differs, where
    the seams lie, and how far from them positions still differ: that much halo a tile lacks at
    least, beside what the network needs where `whole` is a model that is read. `plot()` draws it.

    >>> import atrous, torch
    >>> model = torch.nn.Conv2d(1, 1, 9, padding=4).double()
    >>> def guessed(x, halo=2):
    ...     parts = [model(x[..., max(a - halo, 0) : a + 32 + halo]) for a in range(0, 96, 32)]
    ...     kept = [part[..., halo * (i > 0) :][..., :32] for i, part in enumerate(parts)]
    ...     return torch.cat(kept, -1)
    >>> found = atrous.audit_tiles(model, guessed, input=torch.rand(1, 1, 64, 96).double())
    >>> along = found.outputs[0].axes[1]
    >>> found.verdict, along.seams, along.needed, along.lacks
    ('approximate', (32, 64), (4, 4), (2, 2))
    """
    if not callable(tiled):
        raise ArgumentError(
            f"tiled is a {type(tiled).__name__}; give a function of the whole image."
        )
    if kind_of(whole) in ("network", "zoo", "stack"):
        raise ArgumentError(
            f"{source_name(whole)}: it has no weights, so nothing runs it; give a PyTorch module, "
            "an .onnx file or a function."
        )
    model, _ = made_of(whole) if kind_of(whole) == "library" else (whole, None)
    network, notes = _network_of(model, input)
    images = images_of(model, input, network)
    step("running the whole image")
    made = run_whole(model, images)
    step("running the tiles")
    found = arrays_of(tiled(*images))
    if len(made) != len(found):
        raise ArgumentError(
            f"the whole run gives {len(made)} outputs and the tiler {len(found)}; give a tiler "
            "that returns the same."
        )
    names = network.outputs if network is not None and len(network.outputs) == len(made) else ()
    outputs = tuple(
        tiled_output(
            names[i] if names else f"output {i}",
            one,
            other,
            dims := _dims(network, names[i]) if names else _guessed(one.ndim),
            None if network is None else _probe(tiled, images, network, found, i, dims),
        )
        for i, (one, other) in enumerate(zip(made, found, strict=True))
    )
    name = source_name(whole) if network is not None else getattr(whole, "__name__", "function")
    return TileAudit(name, outputs, notes)


def _network_of(whole: Any, input: Any) -> tuple[Network | None, tuple[str, ...]]:
    """The network of a model, by which halos are known; None and why for what cannot be read."""
    if kind_of(whole) not in ("module", "program", "file", "message"):
        return None, ("the whole run is a function, so the halo that it needs is not known",)
    shapes = shapes_of(input) if is_shape(input) else tuple(tuple(x.shape) for x in several(input))
    try:
        return read_unrun(whole, shapes[0] if len(shapes) == 1 else shapes), ()
    except AtrousError as error:
        return None, (f"the halo that it needs is not known: {error}",)


def several(input: Any) -> tuple[Any, ...]:
    """The inputs, of which there may be one or several."""
    return tuple(input) if isinstance(input, tuple | list) else (input,)


def images_of(whole: Any, input: Any, network: Network | None) -> tuple[Any, ...]:
    """The inputs as given, or random ones of the shapes given."""
    if not is_shape(input):
        return several(input)
    if network is None:
        raise ArgumentError(
            f"input={tuple(input)} is a shape, and a function does not say what it takes; give an "
            "image."
        )
    return drawn(whole, tuple(tensor.shape for tensor in network.inputs))


def _dims(network: Network | None, output: str) -> dict[int, Looks]:
    """Which dimensions of an output hold positions, and how far tiles look along them."""
    assert network is not None
    looks = {one.axis: one for one in looks_of(network, output)}
    tensor = network.tensor(output)
    places = {axis: _dim_of(tensor, axis) for axis in looks}
    dims = {dim: looks[axis] for axis, dim in places.items() if dim is not None}
    return dims or _guessed(len(network.tensor(output).layout))


def _probe(
    tiled: Callable[..., Any],
    images: tuple[Any, ...],
    network: Network,
    before: Sequence[NDArray[Any]],
    output: int,
    dims: Mapping[int, Looks],
) -> FirstChanged:
    """Runs the tiler on inputs that are others from a position on: which outputs change first?"""

    def first(axis: str, position: int, before_it: bool) -> int | None:
        if position < 1:
            return None
        changed = [
            changed_from(image, index, position, before_it=before_it)
            if index is not None
            else image
            for image, tensor in zip(images, network.inputs, strict=True)
            for index in (_dim_of(tensor, axis),)
        ]
        made = arrays_of(tiled(*changed))[output]
        along = next(dim for dim, looks in dims.items() if looks.axis == axis)
        if made.shape != before[output].shape:
            return None
        other = (made != before[output]) & ~(np.isnan(made) & np.isnan(before[output]))
        rest = tuple(dim for dim in range(other.ndim) if dim != along)
        places = np.flatnonzero(other.any(axis=rest))
        if not len(places):
            return None
        return int(places[-1]) + 1 if before_it else int(places[0])

    return first


def _dim_of(tensor: Tensor, axis: str) -> int | None:
    """The dimension that holds the positions along an axis."""
    return next(
        (
            index
            for index, dim in enumerate(tensor.layout)
            if has_axes(dim) and len(dim) == 1 and str(dim[0].axis) == axis
        ),
        None,
    )


_AXES = {1: ("t",), 2: ("h", "w"), 3: ("d", "h", "w")}


def _guessed(rank: int) -> dict[int, Looks]:
    """The dimensions behind batch and channels; all where there are but two."""
    first = 2 if rank > 2 else 0
    names = _AXES.get(rank - first, tuple(f"axis{i}" for i in range(rank - first)))
    return {first + i: Looks(name, Fraction(1), None) for i, name in enumerate(names)}
