"""The command `atrous`: one verb a file, that parses, calls and prints.

`app` gathers the verbs and turns errors into lines and exit codes; `options` holds what several
take, `sources` what they are given, `output` and `pages` what they print and write.
May import: everything; nothing but `__main__` imports it.
A new verb is one file with one function, and its name in the list in `app`.
"""

import sys

__all__ = ["main"]


def main() -> None:
    """Runs the command line; an interruption while the verbs are imported is one as well."""
    try:
        from atrous.cli.app import command_line

        code = command_line()
    except KeyboardInterrupt:
        code = 130
    sys.exit(code)
