"""What runs a function of its own: branches, loops, recurrences."""

from __future__ import annotations

from typing import Any

from atrous.readers.call import NotUnderstood
from atrous.readers.jax.call import JaxCall, translates


@translates("cond")
def _cond(call: JaxCall) -> Any:
    """The branch that a constant chooses."""
    branches = call.setting("branches")
    try:
        index = int(call.numbers(0))
    except NotUnderstood:
        raise NotUnderstood(
            "runs a branch that data decides; read a function that has the branch you mean"
        ) from None
    chosen = branches[min(max(index, 0), len(branches) - 1)]
    assert call.inline is not None
    call.rewritten = True
    given = list(call.arguments.values())[1:]
    return call.inline(chosen, given)


@translates("while")
def _while(_call: JaxCall) -> Any:
    """Not followed: data may decide how often it runs."""
    raise NotUnderstood(
        "runs so often as a condition on data says; write it as a loop of a fixed length "
        "(a Python for, or lax.fori_loop with constant bounds)"
    )
