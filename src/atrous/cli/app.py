"""The verbs, each a small function, and the one place where errors become lines and exit codes."""

from __future__ import annotations

import sys
from functools import cache
from typing import Annotated, Any

import typer

from atrous.cli.audit import audit
from atrous.cli.bench import bench
from atrous.cli.check import check
from atrous.cli.compare import compare
from atrous.cli.convert import convert
from atrous.cli.degrid import degrid
from atrous.cli.design import design
from atrous.cli.effective import effective
from atrous.cli.explain import explain
from atrous.cli.explore import explore
from atrous.cli.inspect import inspect
from atrous.cli.learn import learn
from atrous.cli.output import complain, forgive, printing
from atrous.cli.rates import rates
from atrous.cli.run import run
from atrous.cli.sizes import sizes
from atrous.cli.spelling import blamed, options_of, speaking, spelled, typed
from atrous.cli.stack import stack
from atrous.cli.stream import stream
from atrous.cli.zoo import zoo
from atrous.errors import AtrousError

__all__ = ["app", "command_line"]

_HELP = ["-h", "--help"]

app = typer.Typer(
    name="atrous",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": _HELP},
)

# Typer brings its own copy of click from 0.29 on; both call their root error this.
_USAGE: Any = next(c for c in typer.BadParameter.__mro__ if c.__name__ == "ClickException")


def _version(asked: bool) -> None:
    if asked:
        import atrous
        from atrous.operators.kernels import native

        print(f"atrous {atrous.__version__}, {native()}")  # noqa: T201
        raise typer.Exit


@app.callback(invoke_without_command=True)
def atrous(
    context: typer.Context,
    version: Annotated[  # noqa: ARG001 - its callback answers
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """What each output of a convolutional network sees, and what that costs."""
    verbs: Any = context.command
    if context.invoked_subcommand is None:
        print(context.get_help())  # noqa: T201
    else:
        speaking(options_of(verbs.commands[context.invoked_subcommand]))


_VERBS = (
    inspect,
    explain,
    compare,
    effective,
    sizes,
    rates,
    check,
    zoo,
    stack,
    convert,
    degrid,
    design,
    audit,
    bench,
    run,
    stream,
    learn,
    explore,
)

for verb in _VERBS:
    app.command()(verb)


@cache
def _commands() -> Any:
    """All verbs with their options; to gather them takes longer than most of them run."""
    verbs: Any = typer.main.get_command(app)
    for command in (verbs, *verbs.commands.values()):
        asks = command.get_help_option(typer.Context(command, help_option_names=_HELP))
        for param in (*command.params, asks):
            if getattr(param, "is_flag", False):
                param.metavar = ""  # Typer shows `<bool>` of what takes no value
    return verbs


def command_line() -> int:
    """Runs the command line, and gives its exit code; every error on purpose is one line and 2."""
    forgive()
    try:
        result: Any = 0
        with printing():  # help and versions, which libraries print
            result = _commands()(prog_name="atrous", standalone_mode=False)
        return result if isinstance(result, int) else 0
    except AtrousError as error:
        complain(blamed(spelled(str(error)), sys.argv[1:]), error.see)
        return 2
    except _USAGE as error:
        complain(typed(error.format_message()), f"{_command_of(error)} --help")
        return 2
    except OSError as error:
        named = f"{error.filename}: " if error.filename else ""
        complain(f"{named}{error.strerror or type(error).__name__}.")
        return 2
    except (MemoryError, RuntimeError) as error:
        # PyTorch has no class of its own for it on the CPU.
        if not isinstance(error, MemoryError) and "allocate memory" not in str(error):
            raise
        complain("there is not enough memory for that; give a smaller --input, or a smaller batch.")
        return 2
    except (KeyboardInterrupt, typer.Abort):
        return 130


def _command_of(error: Any) -> str:
    """The command whose help tells what is wrong; click says it of most errors."""
    context = getattr(error, "ctx", None)
    if context is not None:
        return str(context.command_path)
    verbs = {verb.__name__ for verb in _VERBS}
    return f"atrous {sys.argv[1]}" if sys.argv[1:2] and sys.argv[1] in verbs else "atrous"
