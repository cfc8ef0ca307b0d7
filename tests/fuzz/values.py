"""Changes to text and to JSON that keep most of what they are given."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

NUMBERS = (
    *(0, 1, 2, 3, 7, 8, 16, 64, 255, 1000, 1 << 16, (1 << 16) + 1, 1 << 20, 1 << 24, 1 << 31),
    *(1 << 32, 1 << 48, 1 << 53, (1 << 63) - 1, 1 << 63, 10**18, 10**40),
    *(-1, -2, -9, -(1 << 31), -(1 << 63)),
)
_ODD = (None, True, False, "", "x", 0.5, -0.0, 1e308, float("nan"), float("inf"), [], {}, [[]])
_LETTERS = "\0\n\t \"'<>&%/\\.,;:=()[]{}|*+-_0123456789kdsxpéß漢\u200f\ud800\U0001f600"


def changed_text(text: str, rng: Random, words: Sequence[str] = ()) -> str:
    """A text with a few letters or words put in, taken out, moved or repeated."""
    for _ in range(rng.randrange(1, 4)):
        at = rng.randrange(len(text) + 1)
        to = min(len(text), at + rng.choice((1, 1, 2, 4, 9)))
        new = rng.choice(
            (
                "",
                rng.choice(_LETTERS),
                str(rng.choice(NUMBERS)),
                rng.choice(words) if words else "",
                text[at:to] * rng.choice((2, 3, 40)),
                text[rng.randrange(len(text) + 1) :][:12],
            )
        )
        text = text[:at] + new + text[rng.choice((at, to)) :]
    return text


def changed_bytes(data: bytes, rng: Random) -> bytes:
    """Bytes with a few of them changed, put in or taken out."""
    held = bytearray(data)
    for _ in range(rng.randrange(1, 5)):
        at = rng.randrange(len(held) + 1)
        how = rng.randrange(3)
        if how == 0 and at < len(held):
            held[at] = rng.randrange(256)
        elif how == 1:
            held[at:at] = rng.randbytes(rng.randrange(1, 9))
        else:
            del held[at : at + rng.randrange(1, 9)]
    return bytes(held)


def changed_json(value: Any, rng: Random, text: Callable[[str, Random], str]) -> Any:
    """A value of JSON with one place in it changed; `text` changes the strings."""
    value = json.loads(json.dumps(value))
    places = list(_places(value))
    if not places:
        return rng.choice(_ODD)
    holder, key = rng.choice(places)
    held = holder[key]
    how = rng.randrange(6)
    if how == 0:
        holder[key] = rng.choice((*_ODD, *NUMBERS))
    elif how == 1:
        other, there = rng.choice(places)
        holder[key] = json.loads(json.dumps(other[there]))
    elif how == 2:
        del holder[key]
    elif how == 3 and isinstance(holder, list):
        holder[key:key] = [json.loads(json.dumps(held))] * rng.choice((1, 2, 50))
    elif isinstance(held, str):
        holder[key] = text(held, rng)
    elif isinstance(held, int | float):
        holder[key] = rng.choice((held + 1, held - 1, -held, held * 1000, rng.choice(NUMBERS)))
    else:
        holder[key] = rng.choice((held, [held], {"name": held}))
    return value


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Every place in a value, as what holds it and the key there."""
    found: list[tuple[Any, Any]] = []
    waiting = [value] if isinstance(value, dict | list) else []
    while waiting:
        holder = waiting.pop()
        keys = holder if isinstance(holder, dict) else range(len(holder))
        for key in keys:
            found.append((holder, key))
            if isinstance(holder[key], dict | list):
                waiting.append(holder[key])
    return found
