"""Recurrent layers along time: their state is carried from position to position."""

from __future__ import annotations

from typing import Any

import torch

from atrous.runners.stream.rules.base import Local, Rule, Timed, plain_form, rule
from atrous.runners.stream.rules.calling import called
from atrous.runners.stream.rules.running import Carried


@rule("lstm gru rnn_tanh rnn_relu")
def _recurrent(call: Timed) -> Rule:
    x = call.operand("input")
    along = 1 if call["batch_first"] else 0
    if x.dim != along:
        if x.dim == 1 - along:
            return Local(*called(call))  # Time is the batch: each position runs for itself.
        raise call.refusal(f"its {call.name} has time among its features")
    if call["bidirectional"]:
        raise call.refusal(
            f"its {call.name} goes both ways: the way back begins at the end; stream a model whose "
            "recurrent layers go forward only"
        )
    if call["has_biases"] is None or call["params"] is None:
        raise call.refusal(f"its {call.name} runs on packed sequences")
    states = call["hx"]
    several = isinstance(states, list | tuple)
    held = states if several else [states]
    if any(call.known.value(node) is not None for node in held):
        raise call.refusal(f"the first state of its {call.name} is made of the input")
    target = plain_form(call.node.target)
    params = [call.known.constant(node) for node in call["params"]]
    rest = (
        params, bool(call["has_biases"]), int(call["num_layers"]), 0.0, False, False,
        bool(call["batch_first"]),
    )  # fmt: skip

    def start() -> list[torch.Tensor]:
        return [call.known.constant(node).clone() for node in held]

    def run(cell: list[torch.Tensor], new: torch.Tensor) -> Any:
        made = target(new, list(cell) if several else cell[0], *rest)
        cell[:] = made[1:]
        return made

    return Carried([x.index], run, start)
