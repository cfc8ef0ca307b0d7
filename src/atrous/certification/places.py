"""An array with its positions in dimensions of their own, wherever a layout holds them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from atrous.network import Tensor

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["axes_by_dim", "laid"]


def axes_by_dim(tensor: Tensor) -> tuple[tuple[str, ...], ...]:
    """Which axes each dimension holds: a map that is transposed is another one.

    >>> from atrous.network.layout import channels, spatial
    >>> axes_by_dim(Tensor("x", (channels(3), spatial("h", 8), spatial("w", 9))))
    ((), ('h',), ('w',))
    """
    return tuple(tuple(atom.axis for atom in dim if atom.axis is not None) for dim in tensor.layout)


def laid(array: NDArray[Any], tensor: Tensor, axes: Sequence[str]) -> NDArray[Any] | None:
    """`array`, which has the layout of `tensor`, as one dimension an axis and one for all the rest.

    Positions that share a dimension (tokens, flattened maps) or that lie cut into windows are put
    together again. None where the array has another shape, or where its layout does not say where
    each position is.

    >>> from atrous.network.layout import Atom
    >>> tokens = Tensor("tokens", ((), (Atom("h", 2), Atom("w", 3)), (Atom(None, 4),)))
    >>> import numpy as np
    >>> laid(np.zeros((1, 6, 4)), tokens, ("h", "w")).shape
    (2, 3, 4)
    """
    if tuple(array.shape) != tensor.shape or set(axes) != set(tensor.grid):
        return None
    atoms = [atom for dim in tensor.layout for atom in dim]
    order: list[int] = []
    for axis in axes:
        digits = sorted(
            (i for i, atom in enumerate(atoms) if atom.axis == axis),
            key=lambda i: (-atoms[i].weight, -atoms[i].size),
        )
        weight = 1
        for i in reversed(digits):
            if atoms[i].weight != weight:
                return None
            weight *= atoms[i].size
        order += digits
    order += [i for i, atom in enumerate(atoms) if atom.axis is None]
    parts = array.reshape([atom.size for atom in atoms]).transpose(order)
    import numpy as np

    return np.ascontiguousarray(parts).reshape([*(tensor.grid[axis] for axis in axes), -1])
