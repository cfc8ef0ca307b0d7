"""What is said of axes that differ."""

from __future__ import annotations

import pytest


def test_axes_of_which_something_else_holds_are_said_apart():
    torch = pytest.importorskip("torch")
    from atrous import sizes

    text = str(sizes(torch.nn.Conv2d(1, 1, (3, 1), stride=(2, 1)), (1, 1, 9, 8)))
    along_h, along_w = text.split("along h\n")[1].split("along w\n")
    assert "2 k + 1, from 3 up" in along_h
    assert "every size" in along_w.splitlines()[0]
