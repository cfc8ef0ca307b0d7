"""The command: what it prints, on which stream or terminal, and with which exit code."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from atrous.analysis import inspect_network
from atrous.network import zoo
from atrous.report import InspectionView, Look
from tests.command import assert_refuses, atrous, atrous_process
from tests.processes import environment

MODELS = '''
from atrous import Builder

def net():
    """A network that its own code builds."""
    print("building")
    b = Builder("mine")
    x = b.input("x", (1, 3, 64, 64))
    return b.build(b.conv(x, 8, 3, dilation=2, padding=2, name="only"))

def stack():
    return "stack:k3x4 k3d2x4", (1, 3, 32, 32)

def broken():
    raise ValueError("two\\nlines")

def leaves():
    raise SystemExit(7)

class Family:
    @staticmethod
    def small():
        return net()

    @staticmethod
    def sized(width):
        return net()

ready = Builder("ready")
ready = ready.build(ready.input("x", (1, 3, 8, 8)))
'''


@pytest.fixture
def models(tmp_path):
    (tmp_path / "models.py").write_text(MODELS)
    (tmp_path / "spoilt.py").write_text("import nothing_of_that_name\n")
    return tmp_path


@pytest.mark.parametrize(
    "arguments",
    [
        ["inspect", "models:net"],
        ["inspect", "models.py:stack", "--json"],
        ["inspect", "models:broken"],
        ["inspect", "zoo:resnet51"],
        ["check", "stack:k3", "-i", "1,1,9", "--coverage", "<0.5"],
        ["inspekt"],
    ],
)
def test_the_command_says_here_what_it_says_as_a_process(models, arguments):
    here, there = (run(*arguments, cwd=models) for run in (atrous, atrous_process))
    assert (here.returncode, here.stdout, here.stderr) == (
        there.returncode, there.stdout, there.stderr
    )  # fmt: skip


def test_what_the_command_imports_and_sets_is_gone_afterwards(models):
    before = dict(os.environ), list(sys.path), Path.cwd(), sys.stdout
    assert atrous("inspect", "models:net", cwd=models, COLUMNS="120").returncode == 0
    assert (dict(os.environ), sys.path, Path.cwd(), sys.stdout) == before
    assert "models" not in sys.modules


def test_inspect_prints_the_report_and_nothing_on_standard_error():
    result = atrous("inspect", "zoo:resnet18", "--input", "1,3,224,224")
    assert (result.returncode, result.stderr) == (0, "")
    report = inspect_network(zoo.build("resnet18", (1, 3, 224, 224)))
    assert result.stdout == InspectionView(report).text() + "\n"


def test_columns_make_piped_output_wider():
    result = atrous("inspect", "zoo:resnet18", COLUMNS="120")
    report = inspect_network(zoo.build("resnet18"))
    assert result.stdout == InspectionView(report).text(Look(120)) + "\n"


def test_piped_output_has_80_columns_where_nothing_says_otherwise():
    result = atrous_process("inspect", "zoo:resnet18", COLUMNS=None)
    assert result.stdout == InspectionView(inspect_network(zoo.build("resnet18"))).text() + "\n"


def test_json_is_all_that_is_printed_and_is_the_report(models):
    result = atrous("inspect", "models:net", "--json", cwd=models)
    assert result.returncode == 0
    data = json.loads(result.stdout)
    assert data["schema"] == "atrous.inspection/1"
    assert [layer["name"] for layer in data["layers"]] == ["only"]
    assert "building" in result.stderr


def test_json_of_one_layer_has_its_footprint():
    arguments = ["inspect", "stack:k3d2", "-i", "1,1,9,9", "-l", "conv1", "--at", "4,4", "--json"]
    data = json.loads(atrous(*arguments).stdout)
    assert data["schema"] == "atrous.layer/1"
    assert data["footprint"]["origin"] == [2, 2]
    assert data["footprint"]["mask"][0] == [1, 0, 1, 0, 1]


def test_one_layer_is_shown_in_depth_with_its_footprint_drawn():
    result = atrous("inspect", "stack:k3d2", "--input", "1,1,9,9", "--layer", "conv1")
    assert result.returncode == 0
    assert "coverage" in result.stdout
    assert result.stdout.count("│██··██··██│") == 3
    assert result.stdout.count("│··········│") == 2


def test_without_unicode_everything_is_ascii():
    shown = "inspect", "stack:k3d2", "-i", "1,1,9,9"
    for run, arguments in (
        (atrous_process, [*shown, "--layer", "conv1"]),
        (atrous, shown),
        (atrous, ["--help"]),
    ):
        result = run(*arguments, PYTHONIOENCODING="ascii")
        assert (result.returncode, result.stderr) == (0, "")
        assert result.stdout.isascii()


def test_a_name_that_the_encoding_does_not_have_is_escaped(tmp_path):
    (tmp_path / "named.py").write_text(
        "from atrous import Builder\n"
        "def net():\n"
        "    b = Builder('größe')\n"
        "    x = b.input('x', (1, 1, 8, 8))\n"
        "    return b.build(b.conv(x, 1, 3, name='schicht_ö'))\n",
        encoding="utf-8",
    )
    result = atrous("inspect", "named:net", cwd=tmp_path, PYTHONIOENCODING="ascii")
    assert result.returncode == 0, result.stderr
    assert "schicht_\\xf6" in result.stdout


@pytest.mark.parametrize("source", ["models:net", "models.py:net", "models:Family.small"])
def test_a_function_of_ones_own_gives_the_network(models, source):
    result = atrous("inspect", source, cwd=models)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("mine: 1 layer, all understood")


def test_a_file_anywhere_gives_the_network(models, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    result = atrous("inspect", f"{models / 'models.py'}:net", cwd=elsewhere)
    assert result.stdout.startswith("mine:")


def test_a_network_that_is_ready_is_taken_as_it_is(models):
    assert atrous("inspect", "models:ready", cwd=models).stdout.startswith("ready:")


def test_a_function_may_give_a_source_and_an_example_input(models):
    result = atrous("inspect", "models:stack", cwd=models)
    assert "1x3x32x32" in result.stdout
    result = atrous("inspect", "models:stack", "--input", "1,3,16,16", cwd=models)
    assert "1x3x16x16" in result.stdout


def test_the_help_says_that_naming_a_function_runs_its_code():
    text = " ".join(atrous("inspect", "--help").stdout.split())
    assert "RUNS THAT" in text
    assert "only code that you trust" in text


def test_an_error_in_ones_own_code_is_one_line_that_says_where(models):
    assert_refuses(
        "inspect",
        "models:broken",
        says=["models:broken raised ValueError: two lines", "models.py, line 15"],
        cwd=models,
    )
    assert_refuses("inspect", "models:leaves", says="raised SystemExit: 7", cwd=models)
    assert_refuses(
        "inspect",
        "spoilt:net",
        says=["ModuleNotFoundError: No module named 'nothing_of_that_name'", "spoilt.py, line 1"],
        cwd=models,
    )


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["models:nett"], "no function is named 'nett'; near: net"),
        (["nothing:net"], "no module is named 'nothing'"),
        (["nothing.py:net"], "nothing.py: there is no such file"),
        (["models.py"], "models.py:NAME"),
        (["models:Family.sized"], "sized() missing 1 required positional argument: 'width'"),
        (["models:net", "--input", "1,3,8,8"], "leave out --input"),
    ],
)
def test_what_ones_own_code_does_not_have_is_said(models, arguments, says):
    assert_refuses("inspect", *arguments, says=says, cwd=models)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["zoo:resnet51"], "no network is named 'resnet51'; near: resnet50"),
        (["resnet50"], "zoo:resnet50"),
        (["nothing.onnx"], "nothing.onnx"),
        (
            ["zoo:resnet18", "--layer", "layer9"],
            "no layer is named 'layer9'; near: layer4, layer3, layer2",
        ),
        (["zoo:resnet18", "--output", "fcc"], "no layer is named 'fcc'; near: fc"),
        (["zoo:resnet18", "--sort", "macz"], "near: macs"),
        (["zoo:resnet18", "--input", "1,3,a"], "'1,3,a' is no shape"),
        (["zoo:resnet18", "--input", "1,3,0,4"], "every size is at least 1"),
        (["zoo:resnet18", "--input", ""], "--input is empty"),
        (["zoo:resnet18", "--input", "1,3"], "dimensions"),
        (["zoo:resnet18", "--at", "1,1"], "give --layer as well"),
        (["zoo:resnet18", "--layer", "conv1", "--at", "x"], "'x' is no position"),
        (["zoo:resnet18", "--layer", "conv1", "--at", "900,1"], "--at 900,1 is not in an output"),
        (["zoo:resnet18", "--depth", "0"], "--depth"),
        (["zoo:resnet18", "--colour"], "--colour"),
        ([], "see `atrous inspect --help`"),
    ],
)
def test_bad_input_is_one_line_on_standard_error_and_exit_code_2(arguments, says):
    assert_refuses("inspect", *arguments, says=says)


def test_an_unknown_verb_is_one_line():
    assert_refuses("inspekt", says=["inspekt", "atrous --help"])


def test_the_zoo_is_listed_with_every_network():
    result = atrous("zoo")
    assert (result.returncode, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert all(len(line) <= 80 for line in lines)
    rows = [line for line in lines[2:] if line[:1].isalpha()]
    assert [row.split()[0] for row in rows] == list(zoo.names())
    said = " ".join(result.stdout.split())
    assert all(zoo.entry(name).summary in said for name in zoo.names())


def test_the_zoo_as_json_says_what_each_network_sees():
    data = json.loads(atrous("zoo", "--json").stdout)
    assert data["schema"] == "atrous.zoo/1"
    known = {network["name"]: network for network in data["networks"]}
    assert tuple(known) == zoo.names()
    assert known["resnet50"]["field"][0]["size"] == 427
    assert known["resnet50"]["is_global"] is True


def test_the_version_is_printed():
    from importlib.metadata import version

    from atrous.operators.kernels import native

    assert atrous("--version").stdout == f"atrous {version('atrous')}, {native()}\n"


def test_no_arguments_print_the_help():
    result = atrous_process()
    assert result.returncode == 0
    assert "inspect" in result.stdout
    assert "zoo" in result.stdout


def shell(command):
    """What a shell makes of a command in which `atrous` is this one."""
    text = f'atrous() {{ {sys.executable} -m atrous "$@"; }}; {command}'
    return subprocess.run(
        ["bash", "-c", text], env=environment(), capture_output=True, encoding="utf-8", check=False
    )


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("inspect zoo:resnet152 --all", 0),
        ("inspect zoo:resnet152 --json", 0),
        ("--help", 0),
        ("check zoo:resnet18 --macs '<=1'", 1),
        ("check zoo:resnet18 --macs '>=1'", 0),
        ("inspect zoo:nothing", 2),
    ],
)
def test_a_reader_that_goes_away_is_no_error(command, code):
    result = shell(f"atrous {command} | true; echo ${{PIPESTATUS[0]}}")
    assert result.stdout == f"{code}\n"
    assert len(result.stderr.splitlines()) == (code == 2)


def test_the_first_line_alone_can_be_read():
    result = shell("atrous inspect zoo:resnet152 --all | head -n 1; exit ${PIPESTATUS[0]}")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith("resnet152")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no full device")
@pytest.mark.parametrize("command", ["inspect zoo:resnet18", "zoo --json", "--help", "--version"])
def test_a_full_disk_is_one_line(command):
    result = shell(f"atrous {command} > /dev/full")
    assert result.returncode == 2
    assert result.stderr == (
        "atrous: standard output: No space left on device; what was printed is not whole.\n"
    )


def test_an_interruption_leaves_no_traceback(tmp_path):
    (tmp_path / "slow.py").write_text("def net():\n    raise KeyboardInterrupt\n")
    result = atrous("inspect", "slow:net", cwd=tmp_path)
    assert (result.returncode, result.stdout, result.stderr) == (130, "", "")


def on_a_terminal(*arguments, **variables):
    """What the command writes to a terminal of 100 columns."""
    inside, outside = pty.openpty()
    changed = environment() | {"TERM": "xterm-256color", "COLUMNS": "100", "LINES": "50"}
    changed.pop("NO_COLOR")
    with subprocess.Popen(
        [sys.executable, "-m", "atrous", *arguments],
        env=changed | variables,
        stdin=subprocess.DEVNULL,
        stdout=outside,
        stderr=subprocess.PIPE,
    ) as process:
        os.close(outside)
        written = b""
        while True:
            try:
                chunk = os.read(inside, 65536)
            except OSError:
                break
            if not chunk:
                break
            written += chunk
        os.close(inside)
        assert process.stderr.read() == b""
    assert process.returncode == 0
    return written.decode().replace("\r\n", "\n")


ESCAPE = "\x1b["


def test_a_terminal_gets_colour_and_the_same_letters():
    import re

    written = on_a_terminal("inspect", "stack:k3d2 k3d2", "--input", "1,1,64,64")
    assert ESCAPE in written
    letters = re.sub(r"\x1b\[[0-9;]*m", "", written)
    piped = atrous("inspect", "stack:k3d2 k3d2", "--input", "1,1,64,64", COLUMNS="100").stdout
    assert [line.rstrip() for line in letters.splitlines()] == piped.splitlines()


@pytest.mark.parametrize("variables", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_a_terminal_that_wants_no_colour_gets_none(variables):
    assert ESCAPE not in on_a_terminal("inspect", "stack:k3d2", **variables)


def test_colour_can_be_asked_for_in_a_pipe():
    usual = {"NO_COLOR": None, "TERM": "xterm-256color"}
    assert ESCAPE in atrous_process("inspect", "stack:k3d2", FORCE_COLOR="1", **usual).stdout
    assert ESCAPE not in atrous_process("inspect", "stack:k3d2", **usual).stdout


@pytest.mark.parametrize(("option", "name"), [("--html", "page.html"), ("--graph", "graph.svg")])
def test_a_page_that_cannot_be_drawn_is_said_before_any_work(tmp_path, monkeypatch, option, name):
    from atrous.draw import needs

    monkeypatch.setattr(needs, "find_spec", lambda name: None if name == "pygraphviz" else name)
    worked = []
    monkeypatch.setattr("atrous.cli.inspect.load", lambda *_: worked.append(1))
    says = "needs pygraphviz, which is not installed; run `pip install 'atrous[report]'`"
    assert_refuses("inspect", "zoo:resnet18", option, str(tmp_path / name), says=says)
    assert not worked
