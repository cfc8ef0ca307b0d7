"""ONNX files: bytes, and messages in which fields, names, numbers and graphs are changed."""

from __future__ import annotations

import tempfile
from contextlib import suppress
from functools import cache
from math import prod
from pathlib import Path
from random import Random
from typing import Any

import onnx
from google.protobuf.descriptor import FieldDescriptor as Field
from google.protobuf.message import DecodeError, Message

from atrous.analysis import inspect_network
from atrous.errors import AtrousError
from atrous.network import Network, Tensor
from atrous.readers.onnx.inputs import declared
from atrous.readers.onnx.reader import read_onnx
from atrous.shown import view
from tests.fuzz.values import NUMBERS, changed_bytes

_FOLDER = tempfile.TemporaryDirectory()
# What is counted position by position takes the memory that its size asks for.
_COUNTED = 1 << 20
_WORDS = (
    *("x", "y", "", "c0", "c1", "axis", "axes", "perm", "pads", "strides", "dilations", "mode"),
    *(
        "kernel_shape",
        "group",
        "value",
        "body",
        "then_branch",
        "else_branch",
        "auto_pad",
        "equation",
    ),
    *("SAME_UPPER", "VALID", "NOTSET", "linear", "cubic", "ij,jk->ik", "com.microsoft", "ai.onnx"),
    *("location", "offset", "length", "../x", "\0", "\ud7ff", "<b>", "n" * 300),
)


@cache
def _operators() -> tuple[str, ...]:
    return tuple(sorted({schema.name for schema in onnx.defs.get_all_schemas_with_history()}))


def feed(data: bytes) -> None:
    """Reads a file and reports on it; sizes that it leaves open are given by name."""
    path = Path(_FOLDER.name, "net.onnx")
    path.write_bytes(data)
    with suppress(AtrousError):
        network = _network(path, data)
        report = inspect_network(network)
        report.to_json()
        view(report).html()
        assert str(report)
        if all(prod(t.grid.values()) <= _COUNTED for t in (*network.inputs, *_made(network))):
            report.footprint()


def _network(path: Path, data: bytes) -> Network:
    try:
        return read_onnx(path, weights=len(data) % 2 == 0)
    except AtrousError:
        given = _sizes(data)
        if not given:
            raise
        return read_onnx(path, given)


def _made(network: Network) -> list[Tensor]:
    return [node.output for node in network.nodes]


def _sizes(data: bytes) -> dict[str, int]:
    """A size for each name that stands for one."""
    try:
        inputs = onnx.ModelProto.FromString(data).graph.input
    except DecodeError:
        return {}
    said = [size for item in inputs for size in declared(item) or ()]
    return {size: 9 for size in said if isinstance(size, str) and size != "?"}


def changed(data: bytes, rng: Random) -> bytes:
    """Another file, most often still a message."""
    if rng.randrange(10) == 0:
        return changed_bytes(data, rng)
    try:
        model = onnx.ModelProto.FromString(data)
    except DecodeError:
        return changed_bytes(data, rng)
    for _ in range(rng.choice((1, 1, 2, 4))):
        with suppress(UnicodeError):  # a name that is no text is put nowhere else
            _change(model, rng)
    return model.SerializeToString()


def _messages(message: Any) -> list[Any]:
    """A message and all inside it."""
    found, waiting = [], [message]
    while waiting:
        one = waiting.pop()
        found.append(one)
        for field, value in one.ListFields():
            if field.type == Field.TYPE_MESSAGE:
                waiting += value if field.is_repeated else [value]
    return found


def _change(model: Any, rng: Random) -> None:
    """Changes one field somewhere in a model."""
    every = _messages(model)
    # Nodes and what is in them are what is read; the rest is changed less often.
    close = [m for m in every if type(m).__name__ in ("NodeProto", "AttributeProto", "TensorProto")]
    message = rng.choice(close if close and rng.randrange(3) else every)
    fields = message.DESCRIPTOR.fields
    held = [field for field, _ in message.ListFields()]
    field = rng.choice(held if held and rng.randrange(5) else fields)
    if field.is_repeated:
        _change_list(message, field, every, rng)
    elif field.type == Field.TYPE_MESSAGE:
        _change_message(message, field, every, rng)
    elif rng.randrange(8) == 0:
        message.ClearField(field.name)
    else:
        setattr(
            message, field.name, _value(message, field, getattr(message, field.name), every, rng)
        )


def _change_list(message: Any, field: Any, every: list[Any], rng: Random) -> None:
    items = getattr(message, field.name)
    at = rng.randrange(len(items) + 1)
    how = rng.randrange(5)
    if how == 0 and at < len(items):
        del items[at]
    elif field.type == Field.TYPE_MESSAGE:
        twins = [m for m in every if m.DESCRIPTOR is field.message_type]
        if how < 3 and twins:
            copy = type(rng.choice(twins))()
            copy.CopyFrom(rng.choice(twins))
            items.append(copy)
        elif len(items) > 1:
            kept = list(items)
            rng.shuffle(kept)
            kept = [_copied(one) for one in kept]
            del items[:]
            items.extend(kept)
        else:
            items.add()
    else:
        old = items[at] if at < len(items) else None
        new = _value(message, field, old, every, rng)
        if at < len(items) and how < 4:
            items[at] = new
        else:
            items.extend([new] * rng.choice((1, 1, 2, 70)))


def _copied(message: Any) -> Any:
    copy = type(message)()
    copy.CopyFrom(message)
    return copy


def _change_message(message: Any, field: Any, every: list[Any], rng: Random) -> None:
    twins = [m for m in every if m.DESCRIPTOR is field.message_type]
    if rng.randrange(6) == 0 or not twins:
        message.ClearField(field.name)
        if rng.randrange(2):
            getattr(message, field.name).SetInParent()
        return
    # A copy first: what is copied may lie around the place that it goes to.
    getattr(message, field.name).CopyFrom(_copied(rng.choice(twins)))


def _value(message: Any, field: Any, old: Any, every: list[Any], rng: Random) -> Any:
    if field.type == Field.TYPE_STRING:
        if field.name == "op_type" and rng.randrange(4):
            return rng.choice(_operators())
        if rng.randrange(4):
            return rng.choice(_strings(every)) or ""
        return rng.choice(_WORDS)
    if field.type == Field.TYPE_BYTES:
        if field.name == "raw_data" and old and len(old) % 8 == 0 and rng.randrange(2):
            at = rng.randrange(len(old) // 8) * 8
            number = rng.choice(NUMBERS) & ((1 << 64) - 1)
            return old[:at] + number.to_bytes(8, "little") + old[at + 8 :]
        return changed_bytes(old or b"", rng) if rng.randrange(2) else rng.choice(_WORDS).encode()
    if field.type == Field.TYPE_ENUM:
        return rng.choice(field.enum_type.values).number
    if field.type in (Field.TYPE_FLOAT, Field.TYPE_DOUBLE):
        return rng.choice((0.0, 1.0, -1.0, 0.5, 2.0, 1e30, float("inf"), float("nan")))
    bits = 31 if field.type in (Field.TYPE_INT32, Field.TYPE_UINT32) else 63
    low = 0 if field.type in (Field.TYPE_UINT64, Field.TYPE_UINT32) else -(1 << bits)
    if rng.randrange(2):
        return min(max(int(old or 0) + rng.choice((1, -1, 2, -2, 7)), low), (1 << bits) - 1)
    return min(max(rng.choice(NUMBERS), low), (1 << bits) - 1)


def _strings(every: list[Message]) -> list[str]:
    """The names in a model, by which its parts are joined."""
    return [
        text
        for message in every
        for field, value in message.ListFields()
        if field.type == Field.TYPE_STRING
        for text in (value if field.is_repeated else [value])
    ] or [""]
