"""Sources into networks: frameworks' models, files, known networks and stacks."""

from atrous.readers.source import read

__all__ = ["read"]
