"""How both halves of a certificate are put together, on pairs whose runs are told beforehand."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pytest

import atrous
from atrous.certification.certify import certify
from atrous.network.ops import Elementwise, Opaque, Reduce
from atrous.refusal import Refusal

SHAPES = ((1, 8, 64, 64),)
DENSE = "k3s2 k3s2 k3", "k3s2 k3 k3d2"


def stacks(one: str, two: str) -> Callable:
    """Two stacks, read anew at each size."""
    return lambda shapes: tuple(atrous.read(f"stack:{text}", shapes[0]) for text in (one, two))


class Told:
    """A pair for tests: `read` gives its networks at a size, and runs make what they should.

    `spoil(shapes, weights, arrays)` changes what the candidate makes, `refusal(shapes)` says why a
    size is not taken, `like(array, seed)` what outputs hold.
    """

    precision = "float64"
    weights = ("own", "drawn")
    guessed = frozenset()
    remarks = ()

    def __init__(self, read, *, spoil=None, refusal=None, like=None):
        self.read, self.spoil, self.refusal, self.like = read, spoil, refusal, like
        self.ran = []

    def networks(self, shapes, *, guess=False):  # noqa: ARG002 - a protocol
        return self.read(shapes)

    def refuses(self, _shapes):
        return ""

    def may_vary(self):
        return None

    def reference(self, shapes, seed):
        network = self.read(shapes)[0]
        rng = np.random.default_rng(seed)
        made = [rng.normal(size=network.tensor(name).shape) for name in network.outputs]
        return made if self.like is None else [self.like(one, seed) for one in made]

    def arrays(self, shapes, weights, outputs):
        why = self.refusal(shapes) if self.refusal else ""
        if why:
            return Refusal("size", "", why)
        self.ran.append((shapes, weights))
        two = self.read(shapes)[1]
        here, there = self.reference(shapes, 7), []
        for before, (_, name) in zip(here, outputs, strict=True):
            shape = two.tensor(name).shape
            after = np.random.default_rng(9).normal(size=shape)
            steps = [round(b / a) for a, b in zip(before.shape, shape, strict=True)]
            ends = [a * step for a, step in zip(before.shape, steps, strict=True)]
            after[tuple(slice(0, end, step) for end, step in zip(ends, steps, strict=True))] = (
                before
            )
            there.append(after)
        if self.spoil:
            self.spoil(shapes, weights, there)
        return here, there

    def again(self, shapes, _weights, _outputs):
        return self.reference(shapes, 7)

    def moved(self, shapes, _weights, _outputs):
        return self.reference(shapes, 8)

    def first_difference(self, *_):
        return None


def test_a_verdict_that_both_halves_bear_out_is_measured_at_two_sizes():
    pair = Told(stacks(*DENSE))
    found = certify(pair, SHAPES)
    assert (found.verdict, found.agrees, found.state) == ("exact", True, "measured")
    assert found.measured_at == ((64, 64), (65, 65))
    assert pair.ran == [
        (SHAPES, "own"),
        (SHAPES, "drawn"),
        (((1, 8, 65, 65),), "drawn"),
    ]
    assert "by running both in float64 at 64x64 (own weights, drawn weights), 65x65" in " ".join(
        str(found).split()
    )


@pytest.mark.parametrize(("weights", "size"), [("own", 64), ("drawn", 64), ("drawn", 65)])
def test_a_fault_at_one_size_or_with_one_set_of_weights_is_noticed(weights, size):
    def spoil(shapes, held, arrays):
        if shapes[0][2] == size and held == weights:
            arrays[0] += 1e-3

    found = certify(Told(stacks(*DENSE), spoil=spoil), SHAPES)
    assert (found.verdict, found.agrees, found.state) == ("broken", False, "disagrees")
    assert f"the two halves disagree at {size}x{size}" in found.causes[-1].why
    assert "THE TWO DISAGREE" in " ".join(str(found).split())


def test_what_no_size_could_run_is_said_to_be_known_by_structure_alone():
    why = "the reference does not take it (RuntimeError: no)"
    found = certify(Told(stacks(*DENSE), refusal=lambda _: why), SHAPES)
    assert (found.verdict, found.agrees, found.state) == ("exact", None, "not run")
    assert found.measured_at == ()
    assert found.precision == f"not run: {why}"
    assert found.not_run == (("conv3", why),)
    data = json.loads(found.to_json())
    assert data["agrees"] is None
    assert data["state"] == data["outputs"][0]["state"] == "not run"
    assert data["outputs"][0]["checks"][0]["why"] == why
    assert data["not_run"] == [{"output": "conv3", "why": why}]
    text = " ".join(str(found).split())
    assert text.startswith("exact: the same positions are read")
    assert "not run: the reference does not take it" in text
    assert "float64" not in text


def test_a_size_that_is_refused_is_noted_and_another_one_is_run():
    def refusal(shapes):
        return "the reference does not take it (odd)" if shapes[0][2] % 4 else ""

    found = certify(Told(stacks(*DENSE), refusal=refusal), SHAPES)
    assert (found.verdict, found.state) == ("exact", "measured")
    assert found.measured_at == ((64, 64), (68, 68))
    assert found.notes == (
        "not checked at 1x8x65x65, 1x8x66x66: the reference does not take it (odd)",
    )


def test_where_the_size_asked_for_is_refused_another_one_is_judged():
    def refusal(shapes):
        return "the reference does not take it (odd)" if shapes[0][2] % 4 else ""

    found = certify(Told(stacks(*DENSE), refusal=refusal), ((1, 8, 62, 62),))
    assert (found.state, found.measured_at[0]) == ("measured", (64, 64))
    assert len(found.measured_at) == 2
    first = found.outputs[0].checks[0]
    assert (first.sizes, first.state) == ((62, 62), "not run")
    assert first.why == "the reference does not take it (odd)"
    assert "not checked at 1x8x62x62" in found.notes[0]


def test_what_only_the_candidate_refuses_is_a_note_of_its_own():
    def refusal(shapes):
        if shapes[0][2] == 65:
            return "the reference does not take it (odd)"
        return "the candidate does not take it (baked in)" if shapes[0][2] != 64 else ""

    found = certify(Told(stacks(*DENSE), refusal=refusal), SHAPES)
    assert found.measured_at == ((64, 64),)
    assert len(found.notes) == 2
    assert found.notes[1].endswith("the candidate does not take it (baked in)")


def test_an_output_that_does_not_follow_the_input_tells_nothing_however_equal():
    found = certify(Told(stacks(*DENSE), like=lambda x, _: np.zeros_like(x)), SHAPES)
    assert (found.verdict, found.state) == ("exact", "not run")
    assert "it holds the same whatever the input" in found.precision

    def spoil(_shapes, _weights, arrays):
        arrays[0][..., 2, 2] = 1

    spoilt = Told(stacks(*DENSE), like=lambda x, _: np.zeros_like(x), spoil=spoil)
    found = certify(spoilt, SHAPES)
    assert found.verdict != "exact"
    assert found.state == "disagrees"


def test_one_value_everywhere_that_follows_the_input_is_told_apart():
    flat = Told(stacks("k3 k3", "k3 k3"), like=lambda x, seed: np.full_like(x, seed))
    assert certify(flat, SHAPES).state == "measured"


def classifier(shapes):
    """A network with one output that has positions, and one that has none."""
    b = atrous.Builder()
    x = b.conv(b.input("x", shapes[0]), 8, 3, name="conv")
    network = b.build(x, b.add(Reduce((2, 3)), x, name="mean"))
    return network, network


def test_an_output_without_positions_is_compared():
    found = certify(Told(classifier), SHAPES)
    assert [output.state for output in found.outputs] == ["measured", "measured"]

    def spoil(_shapes, _weights, arrays):
        arrays[1] += 1e-3

    found = certify(Told(classifier, spoil=spoil), SHAPES)
    assert [output.verdict for output in found.outputs] == ["exact", "broken"]
    assert found.state == "disagrees"


def test_one_output_that_tells_nothing_leaves_the_certificate_partly_unmeasured():
    class Half(Told):
        def reference(self, shapes, seed):
            made = super().reference(shapes, seed)
            return [made[0], np.zeros_like(made[1])]

    found = certify(Half(classifier), SHAPES)
    assert [output.state for output in found.outputs] == ["measured", "not run"]
    assert (found.state, found.agrees, found.precision) == ("not run", None, "float64")
    assert [name for name, _ in found.not_run] == ["mean"]
    text = " ".join(str(found).split())
    assert "exact: the same positions are read" in text
    assert "mean: exact; 1x8 as before; not run: it holds the same whatever the input" in text


def test_what_is_no_array_of_numbers_is_not_compared():
    words = Told(stacks("k3", "k3"), like=lambda x, _: np.full(x.shape, "word"))
    words.arrays = lambda shapes, *_: (words.reference(shapes, 7), words.reference(shapes, 7))
    assert certify(words, SHAPES).not_run == (("conv1", "it is no array of numbers"),)


def unknown(*, change: bool) -> Callable:
    """Two networks with an operation that nobody understands, behind maps of one size or not."""

    def read(shapes):
        found = []
        for stride in (2, 1 if change else 2):
            b = atrous.Builder()
            x = b.conv(b.input("x", shapes[0]), 8, 3, stride=stride, padding=1, name="conv")
            made = b.add(Opaque("odd", "no rule", (1, 8)), x, name="odd", shape=(1, 8))
            found.append(b.build(made))
        return tuple(found)

    return read


def test_a_difference_is_never_put_down_to_an_operation_that_sees_the_same_map():
    def spoil(_shapes, _weights, arrays):
        arrays[0] += 1e-3

    found = certify(Told(unknown(change=False)), SHAPES)
    assert (found.verdict, found.agrees) == ("approximate", True)
    said = " ".join(str(found).split())
    assert "not all in between is understood; where both were run, the values are the same" in said
    found = certify(Told(unknown(change=False), spoil=spoil), SHAPES)
    assert (found.verdict, found.agrees) == ("broken", False)
    found = certify(Told(unknown(change=True), spoil=spoil), SHAPES)
    assert (found.verdict, found.agrees) == ("approximate", True)


def test_a_map_as_small_as_its_margin_is_judged_where_something_is_left():
    # The candidate keeps the end that the original drops where the map is odd.
    pair = Told(stacks("k2s2valid k7 k7", "k2p(0,1) k7d2 k7d2"))
    found = certify(pair, ((1, 8, 8, 8),))
    assert (found.verdict, found.state, found.agrees) == ("interior", "measured", True)
    first, _, odd, larger = found.outputs[0].checks
    assert (first.sizes, first.proved, first.measured) == ((8, 8), "exact", "exact")
    assert (odd.proved, odd.measured) == ("interior", None)
    assert odd.why == "the margin takes every position"
    assert larger.sizes > odd.sizes
    assert (larger.proved, larger.measured) == ("interior", "exact")
    assert found.outputs[0].margin == ((0, 6), (0, 6))
    assert any("the margin takes every position there is" in note for note in found.notes)


def test_names_of_outputs_that_do_not_exist_are_refused_and_not_taken_for_a_size():
    with pytest.raises(atrous.UnknownNameError, match="layer9"):
        certify(Told(stacks("k3", "k3")), SHAPES, ["layer9"])


def test_elementwise_functions_of_another_name_are_broken_without_a_run():
    def read(shapes):
        found = []
        for label in ("relu", "gelu"):
            b = atrous.Builder()
            x = b.conv(b.input("x", shapes[0]), 8, 3, name="conv")
            found.append(b.build(b.add(Elementwise(label), x, name="act")))
        return tuple(found)

    assert certify(Told(read), SHAPES).verdict == "broken"
