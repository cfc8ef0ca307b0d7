"""Sources into networks: frameworks' models, files, known networks and stacks.

`kind` says what a source is, `source` reads any, `named` asks libraries, `given` reads shapes.
May import: `network` and below; a framework in its own folder, and in `named` inside functions.
A new reader is a folder whose files translate its ops into those of the op table, a kind in
`kind` (a path is a `file` by its ending), and a branch in `source`.
"""

from atrous.readers.source import read

__all__ = ["read"]
