"""The shapes of an ONNX graph's inputs: those in the file, completed by those that are given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from atrous.errors import ReadError
from atrous.readers.onnx.values import checked

if TYPE_CHECKING:
    import onnx

__all__ = ["Input", "Inputs", "Shape"]

Shape = tuple[int, ...]
Input = Sequence[int] | Sequence[Sequence[int]] | Mapping[str, Sequence[int]] | None


class Inputs:
    """The inputs of a graph at their actual sizes.

    `shapes` has them by name, `notes` says where they are not those of the file. Raises
    `ReadError` where a size is left open and not given.
    """

    def __init__(self, items: Sequence[onnx.ValueInfoProto], given: Input) -> None:
        self.shapes: dict[str, Shape] = {}
        self.notes: list[str] = []
        self._items = items
        self._symbols: dict[str, int | None] = {}
        wanted = self._given(given)
        for item in items:
            said = declared(item)
            shape = wanted[item.name] if item.name in wanted else _shape_declared(item, said)
            self.shapes[item.name] = checked(shape, f"the input {item.name[:80]!r}")
            if said is not None:
                self._compare(item.name, said, self.shapes[item.name])

    def recorded(self, graph: onnx.GraphProto) -> dict[str, Shape]:
        """The shapes that the file gives for values inside it, where they hold at these sizes."""
        found: dict[str, Shape] = {}
        if self.notes:
            return found
        for item in (*graph.value_info, *graph.output):
            said = declared(item)
            if said is not None:
                sizes = [self._symbols.get(s) if isinstance(s, str) else s for s in said]
                shape = tuple(size for size in sizes if size is not None)
                if len(shape) == len(said):
                    found[item.name] = shape
        return found

    def _given(self, given: Input) -> dict[str, Shape]:
        """The shapes given by the user, by the names of the inputs."""
        names = [item.name for item in self._items]
        listed = ", ".join(name[:40] for name in names[:8])
        if given is None:
            return {}
        if hasattr(given, "shape"):  # an example in place of its shape
            given = _shape_given(given)
        if isinstance(given, Mapping):
            for name in given:
                if name not in names:
                    raise ReadError(f"has no input {name!r}; its inputs: {listed}.")
            return {name: _shape_given(shape) for name, shape in given.items()}
        if all(isinstance(size, int) for size in given):
            open_ = [item.name for item in self._items if not is_static(declared(item))]
            if len(names) == 1:
                open_ = names
            if len(open_) != 1:
                raise ReadError(
                    f"has {len(names)} inputs ({listed}) and one shape was given; give one for "
                    "each."
                )
            return {open_[0]: _shape_given(given)}
        if len(given) != len(names):
            raise ReadError(
                f"has {len(names)} inputs ({listed}) and {len(given)} shapes were given; give one "
                "for each."
            )
        return {name: _shape_given(shape) for name, shape in zip(names, given, strict=True)}

    def _compare(self, name: str, said: list[int | str], shape: Shape) -> None:
        """Note where a shape is another than the file says, and what its symbols stand for."""
        shown = "x".join(str(size)[:20] for size in said)
        actual = "x".join(map(str, shape))
        if len(said) != len(shape):
            raise ReadError(
                f"the input {name[:80]!r} has the {len(said)} dimensions {shown} and was given "
                f"{actual}."
            )
        changed = False
        for size, number in zip(said, shape, strict=True):
            if isinstance(size, int):
                changed = changed or size != number
            elif size != "?" and self._symbols.setdefault(size, number) != number:
                self._symbols[size] = None
        if changed:
            self.notes.append(f"{name[:80]}: the file says {shown}, read at {actual}")


def declared(item: onnx.ValueInfoProto) -> list[int | str] | None:
    """The sizes that the file gives, symbolic ones by name; None where it gives none."""
    if not item.type.HasField("tensor_type") or not item.type.tensor_type.HasField("shape"):
        return None
    sizes: list[int | str] = []
    for dim in item.type.tensor_type.shape.dim:
        if dim.HasField("dim_value"):
            if dim.dim_value < 0:
                raise ReadError(
                    f"{item.name[:80]!r} has a dimension of {dim.dim_value}; dimensions are 0 or "
                    "more."
                )
            sizes.append(dim.dim_value)
        else:
            sizes.append(dim.dim_param or "?")
    return sizes


def is_static(said: list[int | str] | None) -> bool:
    """True where every size is a number."""
    return said is not None and all(isinstance(size, int) for size in said)


def _shape_declared(item: onnx.ValueInfoProto, said: list[int | str] | None) -> Sequence[int]:
    """The shape in the file; a `ReadError` that says what to give where it is open."""
    name = item.name[:80]
    if not item.type.HasField("tensor_type"):
        raise ReadError(f"the input {name!r} is no tensor; only tensors are read.")
    if said is None:
        raise ReadError(
            f"the input {name!r} has no shape; give it, for example --input 1,3,512,512."
        )
    sizes = [size for size in said if isinstance(size, int)]
    if len(sizes) == len(said):
        return sizes
    shown = "x".join(str(size)[:20] for size in said[:8])
    guess = [
        size if isinstance(size, int) else (512 if place else 1) for place, size in enumerate(said)
    ]
    raise ReadError(
        f"the input {name!r} has the open shape {shown}; give its sizes, for example "
        f"--input {','.join(map(str, guess[:8]))}."
    )


def _shape_given(shape: Any) -> Shape:
    """A shape given by the user, as whole numbers."""
    shape = tuple(shape.shape) if hasattr(shape, "shape") else shape
    if isinstance(shape, Sequence) and all(type(size) is int for size in shape):
        return tuple(shape)
    raise ReadError(f"{shape!r} is no shape; give whole numbers such as (1, 3, 512, 512).")
