"""What a box that holds most of a field is in words."""

from atrous.analysis.effective import Effective


def test_a_box_as_large_as_the_field_is_said_to_be_all_of_it():
    small = Effective(0.95, 0.951, (1, 1), (15, 15), (17, 17))
    assert str(small) == "95.1% within 15x15 of 17x17"
    whole = Effective(0.95, 1.0, (0, 0), (17, 17), (17, 17))
    assert str(whole) == "95% needs all of its 17x17"
