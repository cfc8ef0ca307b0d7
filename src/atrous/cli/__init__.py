"""The command `atrous`: one verb per question; parses, calls, prints."""

from atrous.cli.app import app, main

__all__ = ["app", "main"]
