"""Sources into networks: frameworks' models, files, known networks and stacks.

`kind` says what a source is, `source` reads any, `named` asks libraries, `given` reads shapes.
May import: `network` and below; each framework in its own folder alone.
A new reader is a folder whose files translate its ops into those of the op table, a kind in `kind`,
and a line in `source`.
"""

from atrous.readers.source import read

__all__ = ["read"]
