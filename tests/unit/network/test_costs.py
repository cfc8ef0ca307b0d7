"""Products are counted for every kind of op in the table, and for no other kind are they zero."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from atrous.network import costs, ops
from atrous.network.costs import macs_of

KINDS = [kind for kind in vars(ops).values() if isinstance(kind, type) and issubclass(kind, ops.Op)]
COUNTED = {
    *(
        ops.Attention,
        ops.Constant,
        ops.Contract,
        ops.Conv,
        ops.ConvTranspose,
        ops.Deform,
        ops.Linear,
    ),
    *(ops.Opaque, ops.Scan, ops.Transform),
}


@dataclass(frozen=True, slots=True)
class Newcomer(ops.Op):
    """A kind of op that nobody has told the costs of."""

    kind = "newcomer"


def test_of_an_op_that_nobody_named_the_products_are_not_known() -> None:
    assert macs_of(Newcomer(), [(1, 4, 8, 8)], (1, 4, 8, 8)) is None


@pytest.mark.parametrize("kind", [k for k in KINDS if k is not ops.Op], ids=lambda k: k.__name__)
def test_each_kind_of_op_is_counted_or_said_to_be_free(kind: type[ops.Op]) -> None:
    assert (kind in costs._NO_PRODUCTS) is (kind not in COUNTED)
