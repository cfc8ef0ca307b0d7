"""What each output of a convolutional network sees, what that costs, and stride for dilation.

Every public name is found here and is imported when it is first used, so `import atrous` loads
neither numpy nor a framework.

>>> import atrous
>>> list(atrous.Window(kernel=3, dilation=4).taps(0))
[0, 4, 8]
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

from atrous.shown import plug

if TYPE_CHECKING:
    from atrous.analysis import Comparison as Comparison
    from atrous.analysis import Field as Field
    from atrous.analysis import Finding as Finding
    from atrous.analysis import Footprint as Footprint
    from atrous.analysis import Inspection as Inspection
    from atrous.analysis import Layer as Layer
    from atrous.analysis import Phase as Phase
    from atrous.api import audit as audit
    from atrous.api import compare as compare
    from atrous.api import convert as convert
    from atrous.api import inspect as inspect
    from atrous.api import optimize as optimize
    from atrous.api import read as read
    from atrous.convert.certificate import Certificate as Certificate
    from atrous.convert.edits import Edit as Edit
    from atrous.errors import ArgumentError as ArgumentError
    from atrous.errors import ArgumentTypeError as ArgumentTypeError
    from atrous.errors import AtrousError as AtrousError
    from atrous.errors import GeometryError as GeometryError
    from atrous.errors import MissingDependencyError as MissingDependencyError
    from atrous.errors import NetworkError as NetworkError
    from atrous.errors import ReadError as ReadError
    from atrous.errors import UnknownNameError as UnknownNameError
    from atrous.errors import UnsupportedError as UnsupportedError
    from atrous.geometry import Reads as Reads
    from atrous.geometry import Window as Window
    from atrous.network import Builder as Builder
    from atrous.network import Network as Network
    from atrous.operators.conv import conv as conv
    from atrous.operators.conv import conv_transpose as conv_transpose
    from atrous.refusal import ConversionError as ConversionError
    from atrous.runtime.converted import Conversion as Conversion
    from atrous.runtime.optimize.records import Explanation as Explanation
    from atrous.runtime.optimize.records import LayerChoice as LayerChoice

    __version__: str

# Public name -> the module that has it. The imports above repeat it for type checkers; a test
# compares the two.
_HOMES = {
    "ArgumentError": "atrous.errors",
    "ArgumentTypeError": "atrous.errors",
    "AtrousError": "atrous.errors",
    "Builder": "atrous.network",
    "Certificate": "atrous.convert.certificate",
    "Comparison": "atrous.analysis",
    "Conversion": "atrous.runtime.converted",
    "ConversionError": "atrous.refusal",
    "Edit": "atrous.convert.edits",
    "Explanation": "atrous.runtime.optimize.records",
    "Field": "atrous.analysis",
    "Finding": "atrous.analysis",
    "Footprint": "atrous.analysis",
    "GeometryError": "atrous.errors",
    "Inspection": "atrous.analysis",
    "Layer": "atrous.analysis",
    "LayerChoice": "atrous.runtime.optimize.records",
    "MissingDependencyError": "atrous.errors",
    "Network": "atrous.network",
    "NetworkError": "atrous.errors",
    "Phase": "atrous.analysis",
    "ReadError": "atrous.errors",
    "Reads": "atrous.geometry",
    "UnknownNameError": "atrous.errors",
    "UnsupportedError": "atrous.errors",
    "Window": "atrous.geometry",
    "audit": "atrous.api",
    "compare": "atrous.api",
    "conv": "atrous.operators.conv",
    "conv_transpose": "atrous.operators.conv",
    "convert": "atrous.api",
    "inspect": "atrous.api",
    "optimize": "atrous.api",
    "read": "atrous.api",
}

__all__ = list(_HOMES)


class _Package(ModuleType):
    """The package, on which the folder `convert` does not hide the function of that name."""

    def __setattr__(self, name: str, value: object) -> None:
        if not (name in _HOMES and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> object:
    if name == "__version__":
        value: object = import_module("importlib.metadata").version("atrous")
    elif name in _HOMES:
        value = getattr(import_module(_HOMES[name]), name)
    else:
        raise AttributeError(f"module 'atrous' has no attribute {name!r}")
    globals()[name] = value
    return value


def _views() -> None:
    import atrous.report  # noqa: F401 - registers them


plug(_views)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES, "__version__"})
