"""Reasons of an audit say in units how far maps are off, and how much of them at the ends."""

import pytest

import atrous

MOVED = [
    ("stack:k3s2 k3s2", "stack:k3s2 k3s1p(0,2)"),
    ("stack:k3s2 k3 k5", "stack:k3s2 k3p(0,2) k5p(3,1)"),
    ("stack:k3s2 k3s2 k5", "stack:k3s2 k3 k5d2p(3,5)"),
]


@pytest.mark.parametrize(("one", "two"), MOVED)
def test_how_far_maps_are_off_is_the_distance_between_the_middles_of_what_is_read(one, two):
    found = atrous.audit(one, two, input=(1, 1, 64)).scaled(rate=1000)
    cause = next(c for c in found.causes if "from here on" in c.why)
    reports = [atrous.inspect(source, (1, 1, 64)) for source in (one, two)]
    fields = [report[cause.layer].field[0] for report in reports]
    # The candidate's output 0 is where the reference's would be, were nothing moved.
    distance = abs(fields[0].center - fields[1].center)
    assert distance
    assert cause.apart[0].positions == (distance,)
    assert f" along t (off by {float(distance):g} ms)" in cause.said(found.scales)
    assert f"(off by {float(distance):g} ms)" in " ".join(str(found).split())
    assert cause.scaled(found.scales) == [{"axis": "t", "unit": "ms", "apart": [float(distance)]}]


def test_ends_that_differ_are_said_in_units_too_and_json_has_positions_and_units():
    shape = (1, 1, 64, 64)
    one, two = "stack:k3s2 k3 k5", "stack:k3s2 k3p(0,2) k5p(3,1)"
    plain = atrous.audit(one, two, input=shape)
    found = plain.scaled(pixel="0.5um,1um")
    border = next(c for c in found.causes if "the border lies elsewhere" in c.why)
    said = border.said(found.scales)
    assert "the first of 32 positions along h, w (1 um along h, 2 um along w) differs" in said
    assert border.said({}) == str(border)
    [entry] = [c for c in found.to_dict()["causes"] if c["why"] == border.why]
    assert entry["apart"] == [{"axis": axis, "positions": [2.0]} for axis in "hw"]
    assert [one["apart"] for one in entry["scaled"]] == [[1.0], [2.0]]
    assert "scaled" not in plain.to_dict()["causes"][0]
    assert "um" not in str(plain)


def test_what_is_no_length_has_none():
    found = atrous.audit("stack:k3s2 k3", "stack:k3s2 k3d2", input=(1, 1, 64)).scaled(rate=1000)
    assert found.causes[0].apart == ()
    assert found.causes[0].said(found.scales) == str(found.causes[0])
