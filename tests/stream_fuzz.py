"""Random programs of streams, most of them wrong: the native kernels refuse them or stay in bounds.

`python -m tests.stream_fuzz --draws 5000 --seed 1` runs as many as wanted, also in a build with
sanitizers (see `winograd_fuzz`), which is what finds a read out of bounds. It needs NumPy only.
"""

from __future__ import annotations

import argparse
import ctypes
import random
import sys
from typing import Any

import numpy as np

from atrous.operators.kernels import native
from atrous.operators.kernels.library import library
from atrous.operators.kernels.stream import (
    COMBINE,
    FUNCTIONS,
    OPS,
    SLACK,
    PortStruct,
    ProgramStruct,
    StepStruct,
    TurnStruct,
    ValueStruct,
    lanes_and_panel,
    streams_natively,
)

_FAR = (-(1 << 62), -(1 << 31), -1, 1 << 31, 1 << 40, 1 << 62)


def perhaps_far(draw: random.Random, value: int, share: float) -> int:
    """A number, or sometimes one that nobody means."""
    return draw.choice(_FAR) if draw.random() < share else value


def drawn_value(draw: random.Random, share: float) -> tuple[ValueStruct, int]:
    """A value of few rows, and the floats that it takes."""
    step, rows = draw.choice([1, 3, 16, 32]), draw.randint(4, 40)
    ring = int(draw.random() < 0.4)
    kept = draw.randint(0, rows // 2)
    head = draw.randint(0, rows - 1) if ring else draw.randint(kept, rows)
    made = ValueStruct(0, step, perhaps_far(draw, rows, share), kept, head, ring, 0)
    made.head = perhaps_far(draw, made.head, share)
    return made, step * rows * (1 + ring)


def drawn_sides(draw: random.Random, one: Any, widths: list[int], share: float) -> None:
    """Fields of steps across places, and of recurrent ones."""
    name, lanes = list(OPS)[one.op], lanes_and_panel()[0]
    for key in ("left_places", "out_places", "side_taps", "side_dilation", "side_stride"):
        setattr(one, key, perhaps_far(draw, draw.choice([1, 1, 1, 2, 3]), share))
    one.side_pad = perhaps_far(draw, draw.choice([0, 0, 1, 2, -1]), share)
    if name.startswith(("grid", "arrange")) and draw.random() < 0.8:
        one.channels, one.filters = draw.randint(1, 5), draw.randint(1, 5)
    made = one.filters if name == "grid" else one.channels
    recurrent = {"lstm": 4, "gru": 3, "recurrent": 1}
    one.units = perhaps_far(draw, draw.randint(1, lanes), share)
    if name in recurrent and draw.random() < 0.9:
        one.channels, one.filters = draw.randint(1, 3), recurrent[name] * lanes
        one.function, made = draw.choice([1, 6]), one.units
        wide = [
            i for i, width in enumerate(widths) if width >= (2 if name == "lstm" else 1) * lanes
        ]
        one.right = draw.choice(wide or [0])
    one.left_jump = perhaps_far(draw, draw.choice([one.channels, one.channels, 0, 1, 7]), share)
    one.out_jump = perhaps_far(draw, draw.choice([made, made, made + 1, 0]), share)
    one.carry_weight = perhaps_far(draw, draw.choice([0, 16, -1]), share)
    one.carry_bias = perhaps_far(draw, draw.choice([-1, 0, 32]), share)
    if name == "norm":
        one.filters = perhaps_far(draw, draw.choice([1, 1, 1, 2]), share)


def drawn_step(
    draw: random.Random, widths: list[int], ports: Any, floats: int, share: float
) -> Any:
    """A step of any kind, with fields that are mostly small and fit the values' widths."""
    one, values = StepStruct(), len(widths)
    one.op = draw.randrange(len(OPS))
    plain = draw.random() < 0.6
    one.function = 0 if plain else draw.randrange(len(FUNCTIONS))
    one.left_function, one.right_function = (draw.choice([0, 0, 2, 6]) for _ in "lr")
    one.left, one.right, one.out = (draw.randrange(values) for _ in "lro")
    if one.op == OPS["product"] and draw.random() < 0.5:
        one.right = -1
    one.port = draw.randrange(len(ports))
    one.combine, one.one = draw.randrange(len(COMBINE) + 1), draw.randint(0, 1)
    one.add = int(draw.random() < 0.2)
    for name in ("left_column", "right_column", "out_column"):
        setattr(one, name, perhaps_far(draw, draw.choice([0, 0, 0, 0, 0, 1]), share))
    least = min(widths[one.left], widths[max(one.right, 0)], widths[one.out])
    widest = {"take": ports[one.port].columns, "give": ports[one.port].columns}
    one.channels = widest.get(list(OPS)[one.op], draw.randint(1, max(least - 1, 1)))
    one.filters = draw.randint(1, widths[one.out])
    for name in ("channels", "filters"):
        setattr(one, name, perhaps_far(draw, getattr(one, name), share))
    for name in ("taps", "dilation", "stride", "spread"):
        setattr(one, name, perhaps_far(draw, draw.choice([1, 1, 1, 1, 2, 3]), share))
    one.weight = perhaps_far(draw, 16 * draw.randint(0, max(floats // 32, 1)), share)
    one.bias = perhaps_far(draw, draw.choice([-1, 0, 16]), share)
    one.weight = draw.choice([0, one.weight])
    if draw.random() < share:
        one.left, one.right, one.port = values, -1, len(ports)
    drawn_sides(draw, one, widths, share)
    one.alpha, one.beta = 0.5, -0.25
    return one


def tried(seed: int, share: float) -> int:
    """Runs one program and checks that nothing is written where it is refused; gives the code."""
    draw = random.Random(seed)
    pairs = [drawn_value(draw, share) for _ in range(draw.randint(1, 5))]
    floats = 0
    for one, size in pairs:
        one.offset = perhaps_far(draw, floats, share)
        floats += size
    values = (ValueStruct * len(pairs))(*(one for one, _ in pairs))
    batch, constants = draw.choice([1, 1, 2]), draw.choice([64, 512, 4096])
    arena = np.random.default_rng(seed).standard_normal(batch * (floats + SLACK))
    arena = arena.astype(np.float32)
    held = np.full(constants + SLACK, 0.25, np.float32)
    ports, memory = (PortStruct * 2)(), []
    for port in ports:
        rows, columns = draw.randint(1, 24), draw.choice([1, 3, 16, 27])
        data = np.ones((batch, columns, rows), np.float32)
        memory.append(data)
        port.data, port.rows, port.columns = data.ctypes.data, rows, columns
        port.batch_step, port.row_step, port.column_step = rows * columns, 1, rows
        if draw.random() < 0.5:
            port.row_step, port.column_step = columns, 1
    count, widths = draw.choice([1, 1, 2, 4]), [one.step for one, _ in pairs]
    steps = (StepStruct * count)(
        *(drawn_step(draw, widths, ports, constants, share) for _ in range(count))
    )
    turns = (TurnStruct * count)()
    for turn in turns:
        turn.rows = perhaps_far(draw, draw.choice([0, 1, 2, 5, 7]), share)
        for name in ("left", "right", "out"):
            setattr(turn, name, perhaps_far(draw, draw.choice([0, 0, 0, -1, 2]), share))
    grown = (ctypes.c_int64 * len(pairs))(
        *(
            perhaps_far(draw, draw.randint(0, one.rows - one.kept) if not share else 3, share)
            for one, _ in pairs
        )
    )
    program = ProgramStruct(
        ctypes.addressof(steps), ctypes.addressof(values), arena.ctypes.data, held.ctypes.data,
        count, len(pairs), floats + SLACK, constants + SLACK, batch, lanes_and_panel()[1],
        draw.randint(0, 3), draw.randint(1, 3), len(ports),
    )  # fmt: skip
    before, heads = arena.copy(), [one.head for one in values]
    code = int(library().atrous_stream_run(ctypes.byref(program), turns, grown, ports))
    assert code in (0, 1), f"seed {seed}: an answer that is none, {code}"
    if code:
        same = np.array_equal(arena, before, equal_nan=True)
        assert same, f"seed {seed}: refused, and written"
        assert heads == [one.head for one in values], f"seed {seed}: refused, and moved"
    return code


def main(argv: list[str]) -> int:
    """Runs as many programs as asked for."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--draws", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args(argv)
    assert native().available, native().reason
    assert streams_natively()
    ran = 0
    for i in range(asked.draws):
        # Programs of few steps with small numbers are right often enough.
        ran += tried(asked.seed + i, 0.0 if i % 2 else 0.02) == 0
    sys.stdout.write(f"{asked.draws} programs of streams, {ran} ran; {native()}\n")
    return 0 if ran else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
