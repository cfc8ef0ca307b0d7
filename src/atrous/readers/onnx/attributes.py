"""The attributes of an ONNX node, each of the type that its operator says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from atrous.errors import ReadError

if TYPE_CHECKING:
    import onnx

__all__ = ["Attributes"]

_Kind = Literal["f", "i", "s", "floats", "ints"]
_KINDS: dict[_Kind, int] = {"f": 1, "i": 2, "s": 3, "floats": 6, "ints": 7}


class Attributes:
    """What a node carries beside its inputs. Raises `ReadError` for one of another type."""

    node: onnx.NodeProto
    version: int

    def hold(self, node: onnx.NodeProto, version: int) -> None:
        """From now on these are those of a node, at a version of its operator set."""
        self.node, self.version = node, version
        self._attributes = {attribute.name: attribute for attribute in node.attribute}

    def has(self, name: str) -> bool:
        """True where the node carries the attribute."""
        return name in self._attributes

    def _attribute(self, name: str, kind: _Kind, default: Any = None) -> Any:
        """The attribute's value in the field for its kind; the default where it is absent."""
        attribute = self._attributes.get(name)
        if attribute is None:
            return default
        if attribute.type not in (_KINDS[kind], 0):
            op = self.node.op_type[:80]
            raise ReadError(f"its attribute {name!r} has another type than {op} says.")
        return getattr(attribute, kind)

    def integer(self, name: str, default: int = 0) -> int:
        """A whole number."""
        return int(self._attribute(name, "i", default))

    def real(self, name: str, default: float = 0.0) -> float:
        """A number."""
        return float(self._attribute(name, "f", default))

    def text(self, name: str, default: str = "") -> str:
        """A string."""
        held: bytes | None = self._attribute(name, "s")
        return default if held is None else held.decode("utf-8", "replace")

    def integers(self, name: str) -> tuple[int, ...] | None:
        """Whole numbers, or None where the attribute is absent."""
        held = self._attribute(name, "ints")
        return None if held is None else tuple(held)

    def reals(self, name: str) -> tuple[float, ...] | None:
        """Numbers, or None where the attribute is absent."""
        held = self._attribute(name, "floats")
        return None if held is None else tuple(held)

    def note(self, text: str) -> None:
        """Say something of the node beside what it is."""
