"""One way to register things by name, or by class: a duplicate raises, an unknown name too."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from atrous.errors import ArgumentError, unknown

__all__ = ["Registry"]

Key = TypeVar("Key", bound="str | type")
T = TypeVar("T")


class Registry(dict[Key, T]):
    """A dict in the order of registration, under keys that are names or classes.

    `kind` is what its errors call an entry. A key that is there already raises `ArgumentError`, one
    that is not there `UnknownNameError`, which lists the near ones.

    >>> greetings = Registry[str, str]("greeting")
    >>> greetings["hello"] = "Hello, {}."
    >>> greetings["hallo"]
    Traceback (most recent call last):
        ...
    atrous.errors.UnknownNameError: no greeting is named 'hallo'; near: hello.
    >>> greetings["hello"] = "Hi, {}."
    Traceback (most recent call last):
        ...
    atrous.errors.ArgumentError: greeting 'hello' is registered already; one name, one greeting.
    """

    __slots__ = ("kind",)

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def __setitem__(self, key: Key, entry: T) -> None:
        if key in self:
            raise ArgumentError(
                f"{self.kind} {_name(key)!r} is registered already; one name, one {self.kind}."
            )
        super().__setitem__(key, entry)

    def __missing__(self, key: Key) -> T:
        raise unknown(self.kind, _name(key), map(_name, self))

    def under(self, *keys: Key) -> Callable[[T], T]:
        """A decorator that registers what it decorates under each of these keys.

        >>> shapes = Registry[str, type]("shape")
        >>> @shapes.under("square", "cube")
        ... class Square: pass
        >>> list(shapes)
        ['square', 'cube']
        """

        def register(entry: T) -> T:
            for key in keys:
                self[key] = entry
            return entry

        return register


def _name(key: str | type) -> str:
    return key if isinstance(key, str) else key.__name__
