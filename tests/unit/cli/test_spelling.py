"""Messages name options as the verb that runs has them, not as arguments in Python."""

import re

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


def test_no_help_gives_a_value_to_what_takes_none():
    for verb in ("", *VERBS):
        said = command(*verb.split(), "--help")
        assert said.returncode == 0
        assert "--help" in said.stdout
        assert "bool" not in said.stdout.lower()


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


MODELS = """
from torch import nn

def net():
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU()), (1, 3, 16, 16)
"""
# By verb: a command line that an option makes fail, and what is said of that option.
REFUSED = (
    ("inspect", "stack:k3 -i 1,1,9 --layer cnv", "--layer: no layer is named 'cnv'"),
    ("inspect", "stack:k3 -i 1,1,9 -l conv1 --at 99", "--at 99 is not in an output of (9,)"),
    ("inspect", "stack:k3 -i 1,1,9 --output=cnv", "--output: no layer is named 'cnv'"),
    ("inspect", "stack:k3 -i 1,1,9 --sort size", "--sort: no order is named 'size'"),
    ("inspect", "stack:k3 -i 1,1,9 --pixel 1um", "--pixel 1um is along space"),
    ("inspect", "models.py:net --training adan", "--training: no optimizer is named 'adan'"),
    ("inspect", "models.py:net --training sgd --autocast int8", "--autocast: no type for"),
    ("inspect", "models.py:net --training sgd --budget lots", "--budget lots is no size of memory"),
    ("compare", "--kernel 0", "--kernel 0 is no whole number"),
    ("compare", "--depth 99", "--depth 99 is no whole number"),
    ("compare", "--rate 16k", "--rate 16k is along time"),
    ("sizes", "stack:k3 -i 1,1,9 --rate fast", "--rate fast is no sample rate"),
    ("sizes", "stack:k3 -i 1,1,9 --at-least -1", "--at-least: give 0 or more"),
    ("rates", "513 --rates 0", "--rates 0 is no whole number"),
    ("rates", "513 --kernel 1", "--kernel 1 has no rate"),
    ("rates", "513x513 --output-stride 8x8x8", "--output-stride N, --kernel K and --rates LIST"),
    ("rates", "0", "SIZE 0 is no whole number"),
    ("effective", "stack:k3 -i 1,1,9 -l cnv", "--layer: no layer is named 'cnv'"),
    ("effective", "stack:k3 -i 1,1,9 --weights best", "--weights: no kind of weights is named"),
    (
        "effective",
        "stack:k3 -i 1,1,9 --weights random",
        "leave out --weights KIND and --image PATH",
    ),
    ("effective", "stack:k3 -i 1,1,9 --at 99", "--at 99 is not in an output of"),
    ("effective", "stack:k3 -i 1,1,9 --share 2", "--share 2.0 is"),
    ("check", "stack:k3 -i 1,1,9 --macs <=+2%", "--macs: <=+2% counts from a baseline"),
    ("check", "stack:k3 -i 1,1,9 --look-back <=1ms", "--look-back: <=1ms is a time"),
    ("check", "stack:k3 -i 1,1,9 --output-stride <8um", "--output-stride: <8um is a length"),
    ("check", "stack:k3 -i 1,1,9 --no gridding,hole", "--no: no finding is named 'hole'"),
    ("check", "stack:k3 -i 1,1,9 --macs <=1G --layer cnv", "--layer: no layer is named 'cnv'"),
    ("convert", "stack:k3s2 -i 1,1,9 -s 1 --outputs cnv", "--outputs: no layer is named 'cnv'"),
    (
        "convert",
        "stack:k3s2 -i 1,1,9 -s 1,2",
        "--output-stride 1,2 has 2 values for 1 spatial axis",
    ),
    ("convert", "stack:k3s2 -i 1,1,9 -s 3", "--output-stride 3 is no multiple of 2, the coarsest"),
    ("convert", "stack:k3s2 -i 1,1,9 -s 3", "along t; ask for one, such as 4"),
    ("convert", "stack:k3s3*2 -i 1,1,99 -s 4", "--output-stride 4 lies between 3 and 9 along t"),
    ("convert", "stack:k3s2 -i 1,1,9,9 -s 1,4", "--output-stride 1,4 is finer than now along h"),
    ("convert", "stack:k3 -i 1,1,9 -s 2", "--output-stride 2 along t takes rates that divide by 2"),
    ("inspect", "stack:k3 -i 1,1,9 --layer a,b", "--layer: no layer is named 'a,b'"),
    ("inspect", "stack:k3 -i 1,1,9 --diff none", "--diff 'none' is no source"),
    ("inspect", "stack:k3 -i 1,1,9 --diff=", "--diff is empty: give the path"),
    ("inspect", "stack:k3 -i 1,1,9 --diff no.onnx", "--diff no.onnx: there is no such file"),
    ("inspect", "models.py:net -i 1,3,9,99999999999999999999", "has a size above 9,223,372,036"),
    ("check", "stack:k3 -i 1,1,9 --macs <=+2% --baseline no.onnx", "--baseline no.onnx: there is"),
    ("effective", "models.py:net --image no.png", "--image no.png: there is no such file"),
    ("convert", "stack:k3s2 -i 1,1,9 -s 0", "--output-stride 0 is no whole number"),
    ("convert", "stack:k3s2 -i 1,1,9 -s 1 --heads all", "--heads is all: use scale or keep"),
    ("convert", "stack:k3s2 -i 1,1,9 -s 1 --pixel 1um", "--pixel 1um is along space"),
    ("degrid", "stack:k3d2 -i 1,1,9 --outputs cnv", "--outputs: no layer is named 'cnv'"),
    ("degrid", "stack:k3d2 -i 1,1,9 --method x", "--method is x: use rates, front or tail"),
    ("degrid", "stack:k3d2 -i 1,1,9 --largest 0", "--largest 0 is no rate"),
    ("degrid", "stack:k3d2 -i 1,1,9 --method tail --at cnv", "--at: no layer is named 'cnv'"),
    ("design", "--minimise heat", "--minimise heat is none of macs, params"),
    ("design", "--layer dense", "--layer dense is none of conv, separable"),
    ("design", "--memory lots", "--memory lots is no size of memory"),
    ("design", "--output-stride 0", "--output-stride 0 is no whole number"),
    ("design", "--receptive-field 64ms", "with --rate HZ a time in ms"),
    ("design", "-i 1,1,64 --look-ahead 5ms", "with --rate HZ a time in ms"),
    ("stream", "models.py:net a.wav b.wav --block 0", "--block: give 1 or more"),
    ("explain", "stack:k3 -i 1,1,9 --output=cnv", "--output: no layer is named 'cnv'"),
    ("audit", "stack:k3 stack:k3 -i 1,1,9 --outputs cnv", "--outputs: no layer is named 'cnv'"),
    ("audit", "stack:k3 stack:k3 -i 1,1,9 --pixel 1", "--pixel 1 is no length"),
    ("bench", "models.py:net -i 1,4,9,9", "model cannot run on --input SHAPE"),
    ("run", "models.py:net x.npy x.png", "x.png: results are written to .zarr and .npy"),
    ("run", "models.py:net x.npy x.zarr --tile 0", "x.npy: there is no such file"),
    ("run", "models.py:net x.npy x.zarr --tile 8 --memory 1MiB", "--tile N and --memory SIZE both"),
    ("run", "models.py:net x.npy x.zarr --memory lots", "--memory lots is no size of memory"),
    ("learn", "strided --stride 0", "--stride 0 is no whole number"),
    ("learn", "strided -i 1,3", "--input 1,3 is not batch, channels and"),
    ("stack", "k3 --input 1", "No such option: --input"),
    ("zoo", "--layer x", "No such option: --layer"),
    ("explore", "--port 70000", "--port: give 65535 or less"),
)


@pytest.mark.parametrize(("verb", "line", "says"), REFUSED)
def test_what_an_option_is_at_fault_for_names_it_as_it_is_typed(tmp_path, verb, line, says):
    (tmp_path / "models.py").write_text(MODELS)
    assert_refuses(verb, *line.split(), says=says, cwd=tmp_path)


WHOLE = {
    "inspect": "stack:k3",
    "compare": "k3 k5",
    "sizes": "stack:k3",
    "rates": "65",
    "effective": "stack:k3",
    "check": "stack:k3 --macs >=1",
    "convert": "stack:k3s2",
    "degrid": "stack:k3d2",
    "explain": "stack:k3",
    "audit": "stack:k3 stack:k3",
    "learn": "strided",
    "bench": "models.py:net",
}
"""By verb: a command line that goes, to which an option is added that may not."""


@pytest.mark.parametrize("verb", WHOLE)
def test_whatever_option_is_wrong_is_named_in_what_is_said(tmp_path, verb):
    (tmp_path / "models.py").write_text(MODELS)
    refused = 0
    for option, takes in options_of(VERBS[verb]).values():
        for value in ("", "?") if takes else ():
            line = [*WHOLE[verb].split(), f"{option}={value}"]
            if verb == "convert" and option != "--output-stride":
                line += ["--output-stride", "1"]
            if option != "--input" and verb not in {"rates", "bench"}:
                line += ["--input", "1,1,9,9"]
            result = command(verb, *line, cwd=tmp_path)
            assert result.returncode in {0, 2}, result
            if result.returncode:
                refused += 1
                assert option in result.stderr, result
                assert not re.search(rf"\b({'|'.join(KEYWORDS)})=", result.stderr), result
    assert refused > 3


KEYWORDS = sorted({name for verb in VERBS.values() for name in options_of(verb)})


def test_every_verb_is_refused_something():
    assert {verb for verb, _, _ in REFUSED} == set(VERBS)


def test_models_of_other_axes_are_not_compared():
    says = "the reference's input has the axes h, w and the candidate's t"
    assert_refuses("audit", "zoo:unet", "zoo:tcn", says=says)
