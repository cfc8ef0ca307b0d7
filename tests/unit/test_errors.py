"""Errors: caught as the builtin they resemble, and led by the layer or file they concern."""

from __future__ import annotations

import pickle

import pytest

from atrous import errors
from atrous.errors import AtrousError, GeometryError, UnknownNameError, concerning, unknown


@pytest.mark.parametrize(
    ("name", "builtin"),
    [
        ("ArgumentError", ValueError),
        ("ArgumentTypeError", TypeError),
        ("GeometryError", ValueError),
        ("NetworkError", ValueError),
        ("ReadError", ValueError),
        ("UnknownNameError", KeyError),
        ("MissingDependencyError", ImportError),
        ("UnsupportedError", NotImplementedError),
    ],
)
def test_an_error_is_caught_as_the_root_and_as_its_builtin(name, builtin):
    error = getattr(errors, name)("a message, `quoted` as it is.")
    assert isinstance(error, AtrousError)
    assert isinstance(error, builtin)
    assert str(error) == "a message, `quoted` as it is."


def test_the_innermost_subject_leads_the_message_once():
    with pytest.raises(GeometryError) as caught, concerning("model.onnx"), concerning("conv2"):
        raise GeometryError("stride must be at least 1, got 0.")
    assert str(caught.value) == "conv2: stride must be at least 1, got 0."


def test_an_error_that_is_not_ours_passes_unchanged():
    with pytest.raises(ValueError, match=r"^not ours$"), concerning("conv2"):
        raise ValueError("not ours")


def test_the_subject_survives_another_process():
    error = GeometryError("stride must be at least 1, got 0.")
    error.subject = "conv2"
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_an_unknown_name_lists_the_near_ones_without_regard_to_case():
    error = unknown("layer", "Layer4.conv2", ["layer4.conv1", "layer4.conv2", "fc"])
    assert isinstance(error, UnknownNameError)
    assert str(error) == "no layer is named 'Layer4.conv2'; near: layer4.conv2, layer4.conv1."


def test_an_unknown_name_with_nothing_near_lists_the_first_known_ones():
    known = [f"op{i}" for i in range(20)]
    assert str(unknown("layer", "zzzz", known)) == (
        "no layer is named 'zzzz'; known: op0, op1, op2, op3, op4, op5, op6, op7 and 12 more."
    )
    assert str(unknown("layer", "zzzz", [])) == "no layer is named 'zzzz'; there are none."


def test_an_absurdly_long_name_makes_a_short_message():
    assert len(str(unknown("network", "z" * 10**6, ["unet"]))) < 150
