"""What a name in an ONNX graph stands for: a constant, or a tensor of the network being read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import TYPE_CHECKING, Any

from atrous.errors import ReadError
from atrous.network.records import Param, Tensor
from atrous.readers.call import Fixed
from atrous.readers.weights import MOST_LOOKED_AT, Zeros, zeros_of

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, np.dtype[Any]]

__all__ = ["FLOATS", "Const", "Live", "Value", "broadcast", "checked", "itemsize", "nbytes"]

MAX_ELEMENTS = 1 << 48
MAX_AXIS = 1 << 24
MAX_FOLDED = 1 << 16
MAX_RANK = 64

# Bits of one element by the numbers of TensorProto.DataType, which the file format fixes.
_BITS = {
    **dict.fromkeys((1, 6, 12), 32),
    **dict.fromkeys((2, 3, 9, 17, 18, 19, 20, 24), 8),
    **dict.fromkeys((4, 5, 10, 16), 16),
    **dict.fromkeys((7, 11, 13, 14), 64),
    15: 128,
    **dict.fromkeys((21, 22, 23), 4),
    **dict.fromkeys((25, 26), 2),
}
FLOATS = frozenset((1, 10, 11, 14, 15, 16, 17, 18, 19, 20, 23, 24))
STRING = 8


class Const(Fixed):
    """A value that does not depend on the input: its shape, and its numbers where they are few.

    `params` are the parameters that it was computed from. `load` reads the numbers of a constant
    that is stored, or makes the few of one that is folded; `make` those of one however large.
    """

    __slots__ = ("_array", "_load", "_make", "dtype", "name", "params", "shape")

    def __init__(
        self,
        name: str,
        shape: tuple[int, ...],
        dtype: int,
        params: tuple[Param, ...] = (),
        load: Callable[[], Array] | None = None,
        make: Callable[[], Array] | None = None,
    ) -> None:
        self.name = name
        self.shape = shape
        self.dtype = dtype
        self.params = params
        self._load = load
        self._make = make or load
        self._array: Array | None = None

    @property
    def elements(self) -> int:
        """The number of elements."""
        return prod(self.shape)

    @property
    def array(self) -> Array | None:
        """The numbers, read when first asked for; None where they are too many or no numbers."""
        if self._array is None and self._load is not None:
            load, self._load = self._load, None
            if self.elements <= MAX_FOLDED and self.dtype != STRING:
                self._array = load()
        return self._array

    def numbers(self) -> Array:
        """All numbers, however many; not kept. Raises `ValueError` where they are not at hand."""
        if self._array is not None:
            return self._array
        if self._make is None or self.elements > MOST_LOOKED_AT or self.dtype == STRING:
            raise ValueError("its numbers are not at hand")
        return self._make()

    def zeros(self, kernel: Sequence[int]) -> Zeros:
        """Where the numbers are 0, as `zeros_of` has it; nowhere for numbers not at hand."""
        try:
            return zeros_of(self.numbers(), kernel)
        except Exception:  # a file's numbers may be of any kind, or not be there
            return ()

    def turned(self) -> Const:
        """The matrix with rows for columns."""
        return Const(
            self.name, self.shape[::-1], self.dtype, self.params, make=lambda: self.numbers().T
        )


class Live:
    """A tensor of the network. `unknown` says why its shape is not known, or is empty."""

    __slots__ = ("dtype", "tensor", "unknown")

    def __init__(self, tensor: Tensor, dtype: int, unknown: str = "") -> None:
        self.tensor = tensor
        self.dtype = dtype
        self.unknown = unknown

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape; meaningless where it is unknown."""
        return self.tensor.shape


Value = Const | Live


def itemsize(dtype: int) -> int:
    """Bytes of one element, counting packed ones as one byte."""
    return max(_BITS.get(dtype, 32) // 8, 1)


def nbytes(dtype: int, elements: int) -> int | None:
    """The bytes that a file holds for that many elements; None for strings and unknown types."""
    bits = _BITS.get(dtype)
    return None if bits is None else -(-elements * bits // 8)


def checked(shape: Sequence[int], what: str) -> tuple[int, ...]:
    """The shape, if its numbers are ones that a tensor can have; else a `ReadError`.

    >>> checked([1, 3, 8, 8], "the input")
    (1, 3, 8, 8)
    """
    if len(shape) > MAX_RANK:
        raise ReadError(f"{what} has {len(shape)} dimensions; at most {MAX_RANK} are read.")
    for size in shape:
        if size < 0:
            raise ReadError(f"{what} has a dimension of {size}; dimensions are 0 or more.")
    shape = tuple(shape)
    if prod(shape) > MAX_ELEMENTS:
        sizes = "x".join(map(str, shape))
        raise ReadError(f"{what} has {sizes} elements; more than 2**48 are not read.")
    return shape


def broadcast(*shapes: tuple[int, ...]) -> tuple[int, ...]:
    """The shape that these broadcast to. Raises `ReadError` where they do not.

    >>> broadcast((1, 8, 1), (4, 1, 5))
    (4, 8, 5)
    """
    rank = max((len(shape) for shape in shapes), default=0)
    result = [1] * rank
    for shape in shapes:
        for i, size in enumerate(shape, rank - len(shape)):
            if result[i] == 1:
                result[i] = size
            elif size not in (1, result[i]):
                text = " and ".join(map(str, shapes))
                raise ReadError(f"{text} cannot be joined: {result[i]} against {size}.")
    return tuple(result)
