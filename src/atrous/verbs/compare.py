"""`compare`: schemes of stride and dilation side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from atrous.analysis import Comparison, compare_networks, usual_stacks
from atrous.errors import AtrousError, ReadError
from atrous.readers import read
from atrous.shown import how_many

__all__ = ["compare"]


def compare(
    schemes: Sequence[Any] | Mapping[str, Any] | None = None,
    *,
    input: Any,
    kernel: int = 3,
    depth: int = 4,
    channels: int = 64,
    structure_only: bool = False,
) -> Comparison:
    """Stride, dilation, both, or pooling: what each scheme sees of one input, and what it costs.

    `schemes` are stacks such as `"k3s2x64 k3d2"`, networks, or anything else that `read` takes; a
    mapping names them. Left out, they are the usual ones of `depth` convolutions of one `kernel`
    and that many `channels`: plain, strided, dilated at a constant and at doubling rates, strided
    and then dilated, and pooled. `input` is the shape with batch, channels and 1 to 3 sizes.
    `structure_only` is that of `inspect`.

    >>> import atrous
    >>> stacks = {"doubling": "k3d1 k3d2 k3d4", "holes": "k3d2 k3d4 k3d8"}
    >>> table = atrous.compare(stacks, input=(1, 8, 99))
    >>> [(scheme.field[0].size, scheme.coverage) for scheme in table]
    [(15, 1.0), (29, 0.5172413793103449)]
    """
    title = ""
    if schemes is None:
        layers = how_many(depth, "layer")
        title = f"{layers} of kernel {kernel} and {how_many(channels, 'channel')}"
        schemes = usual_stacks(kernel, depth, channels)
    named = _by_name(schemes)
    if not named:
        raise ReadError('there is nothing to compare; give stacks such as "k3s2x64 k3d2".')
    networks = {}
    for name, source in named.items():
        try:
            is_stack = isinstance(source, str) and ":" not in source and "." not in source
            held = f"stack:{source}" if is_stack else source
            networks[name] = read(held, input, structure_only=structure_only)
        except AtrousError as error:
            if len(named) > 1:
                error.subject = f"{name}, {error.subject}" if error.subject else name
            raise
    sources = {name: source for name, source in named.items() if isinstance(source, str)}
    return compare_networks(networks, sources, title=title)


def _by_name(schemes: Sequence[Any] | Mapping[str, Any]) -> dict[str, Any]:
    if isinstance(schemes, Mapping):
        return dict(schemes)
    if isinstance(schemes, str):
        schemes = [schemes]
    named: dict[str, Any] = {}
    for place, source in enumerate(schemes, 1):
        name = source if isinstance(source, str) else getattr(source, "name", "")
        if not isinstance(name, str) or not name or name in named:
            name = f"{name if isinstance(name, str) and name else type(source).__name__} ({place})"
        named[name] = source
    return named
