"""The inputs of an ONNX graph: sizes in the file, completed by those given; values that decide."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import partial
from math import prod
from typing import TYPE_CHECKING, Any

from atrous.errors import ReadError
from atrous.readers.onnx.values import MAX_FOLDED, STRING, Const, checked
from atrous.shown import how_many

if TYPE_CHECKING:
    import onnx

__all__ = ["Input", "Inputs", "Shape", "Values", "fixed"]

Shape = tuple[int, ...]
Input = Sequence[int] | Sequence[Sequence[int]] | Mapping[str, Sequence[int] | int] | None
Values = Mapping[str, Any] | None


class Inputs:
    """The inputs of a graph at their actual sizes.

    `given` has one shape, one for each input or for each that is open, or by name the shapes of
    inputs and the sizes of open dimensions. What is left open and stands first is a batch of 1.
    `shapes` has them by name, `notes` says where they are not those of the file. Raises `ReadError`
    where a size is left open and not given. Inputs whose value is `settled` need no shape.
    """

    def __init__(
        self, items: Sequence[onnx.ValueInfoProto], given: Input, settled: Collection[str] = ()
    ) -> None:
        self.shapes: dict[str, Shape] = {}
        self.notes: list[str] = []
        self._items: dict[str, onnx.ValueInfoProto] = {item.name: item for item in items}
        self._said: dict[str, list[int | str] | None] = {i.name: declared(i) for i in items}
        self._symbols: dict[str, int | None] = {}
        wanted, sizes = self._given(given, settled)
        for name, size in sizes.items():
            self._symbols[name] = size
        for name, shape in wanted.items():
            said = self._said[name]
            self.shapes[name] = checked(shape, f"the input {name[:80]!r}")
            if said is not None:
                self._compare(name, said, self.shapes[name])
        batch = self._batch(wanted)
        for name, said in self._said.items():
            if name not in wanted:
                shape = self._completed(name, said, batch)
                self.shapes[name] = checked(shape, f"the input {name[:80]!r}")
        self.shapes = {name: self.shapes[name] for name in self._items}

    def recorded(self, graph: onnx.GraphProto) -> dict[str, Shape]:
        """The shapes that the file gives for values inside it, where they hold at these sizes."""
        found: dict[str, Shape] = {}
        if any("the file says" in note for note in self.notes):
            return found
        for item in (*graph.value_info, *graph.output):
            said = declared(item)
            if said is not None:
                sizes = [self._symbols.get(s) if isinstance(s, str) else s for s in said]
                shape = tuple(size for size in sizes if size is not None)
                if len(shape) == len(said):
                    found[item.name] = shape
        return found

    def _given(
        self, given: Input, settled: Collection[str]
    ) -> tuple[dict[str, Shape], dict[str, int]]:
        """The shapes given by the user, by the names of inputs, and sizes of open dimensions."""
        names = list(self._items)
        if given is None:
            return {}, {}
        if hasattr(given, "shape"):  # an example in place of its shape
            given = _shape_given(given)
        if isinstance(given, Mapping):
            rest = {name: value for name, value in given.items() if name not in settled}
            return self._named(rest)
        if all(isinstance(size, int) for size in given):
            return {self._meant(_shape_given(given)): _shape_given(given)}, {}
        opened = [name for name in names if not is_static(self._said[name])]
        into = opened if len(given) == len(opened) else names
        if len(given) != len(into):
            raise ReadError(
                f"has {how_many(len(names), 'input')} ({self._listed()}) and "
                f"{how_many(len(given), 'shape')} were given; "
                "give one for each."
            )
        return {name: _shape_given(shape) for name, shape in zip(into, given, strict=True)}, {}

    def _named(self, given: Mapping[str, Any]) -> tuple[dict[str, Shape], dict[str, int]]:
        """Shapes by the names of inputs, and sizes by those of open dimensions."""
        dims = {size for said in self._said.values() for size in said or () if type(size) is str}
        shapes: dict[str, Shape] = {}
        sizes: dict[str, int] = {}
        for name, value in given.items():
            number = type(value) is int
            if number and name in dims and name in self._items:
                raise ReadError(
                    f"{name!r} is an input and an open dimension; to give the input's shape, make "
                    f"it a list: {name}={value}, on the command line, ({value},) in Python."
                )
            if number and name in dims:
                if value < 1:
                    raise ReadError(f"{name} is {value}; a size is a whole number of at least 1.")
                sizes[name] = value
            elif name in self._items:
                shapes[name] = (value,) if number else _shape_given(value)
            elif name in dims:
                raise ReadError(f"{name!r} is an open dimension; give one number for it.")
            else:
                open_ = ", ".join(sorted(dim[:80] for dim in dims - {"?"})[:8])
                raise ReadError(
                    f"has no input {name[:80]!r}; its inputs: {self._listed()}"
                    + (f"; its open dimensions: {open_}." if open_ else ".")
                )
        return shapes, sizes

    def _meant(self, shape: Shape) -> str:
        """The input that one shape is for: the only one, the only open one, or one that has all
        the open dimensions of the others.
        """
        names = list(self._items)
        if len(names) == 1:
            return names[0]
        opened = {
            name: {size for size in said or "?" if isinstance(size, str)}
            for name, said in self._said.items()
            if not is_static(said)
        }
        every = {dim for dims in opened.values() for dim in dims}
        for name, dims in opened.items():
            fits = len(self._said[name] or ()) == len(shape)
            if len(opened) == 1 or (fits and dims == every and "?" not in every):
                return name
        which = list(opened) or names
        shown = ",".join(map(str, shape))
        raise ReadError(
            f"has {how_many(len(names), 'input')} ({self._listed()}) and one shape was "
            "given; give one for "
            f"each, or name it, for example --input {which[0][:80]}={shown}."
        )

    def _listed(self) -> str:
        return ", ".join(name[:40] for name in list(self._items)[:8])

    def _compare(self, name: str, said: list[int | str], shape: Shape) -> None:
        """Note where a shape is another than the file says, and what its symbols stand for."""
        if len(said) != len(shape):
            has = f"has the {len(said)} dimensions {_shown(said)}" if said else "is a scalar"
            raise ReadError(f"the input {name[:80]!r} {has} and was given {_shown(shape)}.")
        changed = False
        for size, number in zip(said, shape, strict=True):
            if isinstance(size, int):
                changed = changed or size != number
            elif size != "?" and self._symbols.setdefault(size, number) != number:
                self._symbols[size] = None
        if changed:
            self.notes.append(f"{name[:80]}: the file says {_shown(said)}, read at {_shown(shape)}")

    def _batch(self, wanted: Mapping[str, Shape]) -> int:
        """The images in a batch, where the file leaves that open: those of the first shape given
        whose batch is open, or 1.
        """
        for name, shape in wanted.items():
            said = self._said[name]
            if said and isinstance(said[0], str):
                return shape[0]
        return 1

    def _completed(self, name: str, said: list[int | str] | None, batch: int) -> Shape:
        """The shape in the file, with what is known of its open sizes; else what to give."""
        item = self._items[name]
        shown = name[:80]
        if not item.type.HasField("tensor_type"):
            raise ReadError(f"the input {shown!r} is no tensor; only tensors are read.")
        if said is None:
            raise ReadError(
                f"the input {shown!r} has no shape; give it, for example --input 1,3,512,512."
            )
        sizes = [self._symbols.get(size) if isinstance(size, str) else size for size in said]
        if None in sizes and len(sizes) > 1 and sizes.index(None) == 0 and None not in sizes[1:]:
            sizes[0] = batch
            of = "its batch" if said[0] == "?" else str(said[0])[:80]
            self.notes.append(f"{shown}: the file leaves {of} open, read at {batch}")
            if said[0] != "?":
                self._symbols[str(said[0])] = batch
        if None not in sizes:
            return tuple(size for size in sizes if size is not None)
        guess = [
            (512 if place else 1) if size is None else size for place, size in enumerate(sizes)
        ]
        prefix = f"{shown}=" if len(self._items) > 1 else ""
        text = (
            f"the input {shown!r} has the open shape {_shown(said[:8])}; give its sizes, for "
            f"example --input {prefix}{','.join(map(str, guess[:8]))}"
        )
        unknown = [place for place, size in enumerate(sizes) if size is None]
        named = [str(said[place]) for place in unknown if place or len(unknown) == 1]
        if "?" not in named:
            alone = " ".join(f"--input {dim[:80]}=512" for dim in dict.fromkeys(named[:4]))
            text += f", or only what is open: {alone}"
        raise ReadError(f"{text}.")


def _shown(sizes: Sequence[int | str]) -> str:
    """Sizes as they are written: crossed, or in brackets where some have names."""
    texts = [str(size)[:80] for size in sizes]
    return "x".join(texts) if all(map(str.isdecimal, texts)) else f"({', '.join(texts)})"


def declared(item: onnx.ValueInfoProto) -> list[int | str] | None:
    """The sizes that the file gives, symbolic ones by name, `?` for those that are just open (-1 as
    well); None where it gives none.
    """
    if not item.type.HasField("tensor_type") or not item.type.tensor_type.HasField("shape"):
        return None
    sizes: list[int | str] = []
    for dim in item.type.tensor_type.shape.dim:
        if dim.HasField("dim_value") and dim.dim_value != -1:
            if dim.dim_value < 0:
                raise ReadError(
                    f"{item.name[:80]!r} has a dimension of {dim.dim_value}; dimensions are 0 or "
                    "more, or -1 where they are open."
                )
            sizes.append(dim.dim_value)
        else:
            sizes.append(dim.dim_param or "?")
    return sizes


def is_static(said: list[int | str] | None) -> bool:
    """True where every size is a number."""
    return said is not None and all(isinstance(size, int) for size in said)


def _shape_given(shape: Any) -> Shape:
    """A shape given by the user, as whole numbers."""
    shape = tuple(shape.shape) if hasattr(shape, "shape") else shape
    if isinstance(shape, Sequence) and all(type(size) is int for size in shape):
        return tuple(shape)
    raise ReadError(f"{shape!r} is no shape; give whole numbers such as (1, 3, 512, 512).")


def fixed(items: Sequence[onnx.ValueInfoProto], values: Values) -> Iterator[tuple[str, Const]]:
    """The inputs whose values are given, as constants of the file's types.

    A single number fills the shape that the file gives. Raises `ReadError` for a name that no input
    has, and for values that do not fit.
    """
    import numpy as np
    from onnx import helper

    known = {item.name: item for item in items}
    for name, value in (values or {}).items():
        if name not in known:
            listed = ", ".join(item[:40] for item in list(known)[:8])
            raise ReadError(f"has no input {name[:80]!r} to give a value; its inputs: {listed}.")
        kind = known[name].type.tensor_type.elem_type
        if kind in (0, STRING):
            raise ReadError(f"the input {name[:80]!r} takes no numbers; only numbers are given.")
        given = np.asarray(value)
        array = given.astype(helper.tensor_dtype_to_np_dtype(kind))
        if (array != given).any():
            raise ReadError(f"the input {name[:80]!r} cannot be {value!r}: its type holds no such.")
        said = declared(known[name])
        if said is not None and is_static(said) and not array.shape:
            sizes = tuple(size for size in said if isinstance(size, int))
            if prod(checked(sizes, f"the input {name[:80]!r}")) <= MAX_FOLDED:
                array = np.full(sizes, array)
        fits = said is None or len(said) == array.ndim
        if said is not None and fits:
            fits = all(isinstance(a, str) or a == b for a, b in zip(said, array.shape, strict=True))
        if not fits or array.size > MAX_FOLDED:
            raise ReadError(
                f"the input {name[:80]!r} has the shape {_shown(said or ())} and was given "
                f"{how_many(array.size, 'number')}."
            )
        yield name, Const(name, array.shape, kind, (), partial(np.asarray, array))
