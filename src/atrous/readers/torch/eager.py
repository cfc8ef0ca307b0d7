"""What a module holds while it runs: the life of every storage, with no arithmetic done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from atrous.frameworks.structures import leaves, mapped
from atrous.frameworks.torch import (
    fakes,
    in_mode,
    quiet,
    unchanged,
    unfused,
)
from atrous.network import EagerRun
from atrous.readers.torch.storages import Calls, Storages, without_numbers

__all__ = ["eager_run"]


def eager_run(
    module: torch.nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any] | None = None
) -> EagerRun:
    """The peak of `module(*args, **kwargs)`, run on tensors that have no numbers.

    The module runs in evaluation mode without gradients, and is left as it was. Where its steps
    depend on the values of its inputs only a real run could tell, and the record says so.
    """
    with in_mode(module, training=False), unchanged(module), quiet(), torch.no_grad():
        calls = Calls(module)
        try:
            return _watched_run(module, args, kwargs or {}, calls)
        except Exception as error:
            reason = f"{calls.layer()}: {without_numbers(error)}".removeprefix(": ")
        try:
            # The fused encoder layer runs on numbers alone.
            with unfused():
                return _watched_run(module, args, kwargs or {}, Calls(module))
        except Exception:
            return EagerRun(None, reason=reason)


def _watched_run(
    module: torch.nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any], calls: Calls
) -> EagerRun:
    mode = fakes()
    given = mapped(
        (tuple(args), dict(kwargs)),
        lambda value: mode.from_tensor(value) if isinstance(value, torch.Tensor) else value,
    )
    storages = Storages(mode, calls)
    storages.own([*module.parameters(), *module.buffers()])
    storages.start(leaves(given))
    with calls.noted(), mode, storages:
        module(*given[0], **given[1])
    if storages.own_what_is_left(leaves(given)):
        # Tables that the first run made and that the module kept are its own in the next one.
        with calls.noted(), mode, storages:
            module(*given[0], **given[1])
    return EagerRun(
        storages.peak, storages.at, layers=tuple(storages.layers), alive=tuple(storages.course)
    )
