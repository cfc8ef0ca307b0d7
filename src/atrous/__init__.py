"""What each output of a convolutional network sees, what that costs, and stride for dilation.

The public names stand in `__init__.pyi`, once, where type checkers find them as well. Each is
imported when it is first used, so `import atrous` loads neither numpy nor a framework.

>>> import atrous
>>> list(atrous.Window(kernel=3, dilation=4).taps(0))
[0, 4, 8]
"""

from __future__ import annotations

import sys

try:
    import lazy_loader

    from atrous.shown import plug
except KeyboardInterrupt:
    # Of the command, stopped before its own code begins; `-m` is its name so far.
    if sys.argv[0].replace("\\", "/").rpartition("/")[2].partition(".")[0] in {"atrous", "-m"}:
        sys.exit(130)
    raise

_named, _, __all__ = lazy_loader.attach_stub(__name__, __file__)


def __getattr__(name: str) -> object:
    if name == "__version__":
        from importlib.metadata import version

        value: object = version("atrous")
    elif name in __all__:
        value = _named(name)
    else:
        raise AttributeError(f"module 'atrous' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "__version__"})


def _views() -> None:
    import atrous.report  # noqa: F401 - registers them


plug(_views)
