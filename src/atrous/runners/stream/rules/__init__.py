"""How each kind of call goes along time: what it waits for, what must be kept, what it makes.

`base` has the kinds of rules and their table, `calling` the calls themselves; a file for each kind:
`local` calls at one position, `sliding` windows, `spreading` ones, `resizing`, `ends` that pad and
crop, `shapes` with time in other digits, `recurrent` states, `sources` that no input reaches,
`running` sums, `attending` in a window.
May import: `geometry` and below. A new rule is a class in the file of its kind and a function that
makes it of a call, under the names of its calls in ATen.
"""

from atrous.runners.stream.rules import (
    attending,
    ends,
    local,
    recurrent,
    resizing,
    running,
    shapes,
    sliding,
    sources,
    spreading,
)

__all__ = [
    "attending",
    "ends",
    "local",
    "recurrent",
    "resizing",
    "running",
    "shapes",
    "sliding",
    "sources",
    "spreading",
]
