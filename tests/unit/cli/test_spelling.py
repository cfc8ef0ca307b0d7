"""Messages name options as the verb that runs has them, not as arguments in Python."""

import pytest
import typer

from atrous.cli.app import app
from atrous.cli.spelling import options_of, spelled
from tests.command import assert_refuses
from tests.command import atrous as command

VERBS = typer.main.get_command(app).commands


@pytest.mark.parametrize("verb", VERBS)
def test_every_option_of_every_verb_is_spelled_as_it_is_typed(verb):
    options = options_of(VERBS[verb])
    for name, (option, takes) in options.items():
        here = f"{option} {takes}".strip()
        assert spelled(f"do this ({name}=...).", options) == f"do this ({here})."
        assert spelled(f"with {name}=", options) == f"with {here}"
        value = "" if not takes else " x"
        assert spelled(f"say {name}='x'.", options) == f"say {option}{value}."
        if "_" in name:
            assert spelled(f"{name} is wrong.", options) == f"{option} is wrong."


def test_what_is_no_argument_stays():
    options = options_of(VERBS["convert"])
    for text in (
        "the input of conv1 is 3x64x64",
        "timm:resnet18d?output_stride=8&heads=2 is read",
        "an axis=2 that no option has",
        "--input input=1,3,64,64",
        "layer head.outputs=3",
    ):
        assert spelled(text, options) == text


def test_shapes_and_flags_are_written_as_the_line_takes_them():
    options = options_of(VERBS["convert"])
    assert spelled("give input=(1, 3, 64, 64).", options) == "give --input 1,3,64,64."
    assert spelled("resample=True or measure=False", options) == "--resample or --no-measure"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["convert", "zoo:resnet50", "-s", "8"], "such as --outputs layer4."),
        (["convert", "zoo:unet", "-s", "4"], "the part before it (--outputs NAMES)."),
        (["convert", "zoo:tcn", "-s", "2", "--heads", "x"], "--heads is x: use scale or keep."),
        (["convert", "zoo:tcn", "-s", "2", "--tail", "x"], "--tail is x: use crop or keep."),
    ],
)
def test_a_refusal_says_what_to_type(arguments, says):
    assert_refuses(*arguments, says=says)


def test_a_report_says_what_to_type():
    result = command("convert", "stack:k3s2x8 k2s2validx8 k3x8", "-s", "1", "--input", "1,3,62,63")
    assert result.returncode == 0
    said = " ".join(result.stdout.split())
    assert "=" not in said.replace("output stride", ""), said
