"""Sources into networks: frameworks' models, files, known networks and stacks.

`kind` says what a source is, `source` reads any, `named` asks libraries, `given` reads shapes;
`call` is what the calls of all frameworks share, `placed` those with channels last, `einsum` the
notation of products.
May import: `network` and below; a framework in its own folder, and in `named` inside functions.
A new reader (Keras) is a folder: its `reader` makes a `Call` of each op, its translations say what
they are in the words of the op table. Then it gets a kind in `kind` (a path is a `file` by its
ending), and a branch in `source`.
"""

from atrous.readers.source import read

__all__ = ["read"]
