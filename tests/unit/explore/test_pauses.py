"""The collector of cycles between edits."""

from __future__ import annotations

import gc
import weakref

from atrous.explore.pauses import quiet_collector


class _Knot:
    def __init__(self):
        self.self = self


def test_what_is_there_is_left_alone_and_what_an_answer_leaves_behind_is_collected():
    before, frozen = gc.get_threshold(), gc.get_freeze_count()
    try:
        quiet_collector()
        assert gc.get_freeze_count() > max(frozen, 1000)
        assert gc.get_threshold()[2] >= 50 * before[2]
        knot = weakref.ref(_Knot())
        made = [[] for _ in range(2 * gc.get_threshold()[0])]
        assert made
        assert knot() is None
    finally:
        if not frozen:
            gc.unfreeze()
        gc.set_threshold(*before)
