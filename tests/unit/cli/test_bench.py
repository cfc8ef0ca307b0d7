"""`atrous bench`: the table for any model that can be a module, and one line for what cannot."""

from __future__ import annotations

import json

import pytest
import torch

from atrous.errors import ReadError, UnsupportedError
from atrous.verbs.bench import module_of
from tests.command import atrous


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ATROUS_CACHE", str(tmp_path / "cache"))


def test_a_stack_is_made_with_random_weights_and_shown_layer_by_layer():
    threads = torch.get_num_threads()
    result = atrous(
        "bench", "stack:k3s2x8 dwk3d2 maxk2s2valid k3valid", "-i", "1,4,32,32", "--threads", "1",
        "--engines", "atrous", "--rounding", "direct",
    )  # fmt: skip
    assert result.returncode == 0
    assert "1x4x32x32" in result.stdout
    assert "1 thread" in result.stdout
    assert torch.get_num_threads() == threads


def test_json_is_the_explanation_and_nothing_beside_it():
    result = atrous("bench", "stack:k3x8 avgk2s2valid k3d2causal", "-i", "1,4,40", "--json")
    assert result.returncode == 0
    found = json.loads(result.stdout)
    assert found["schema"] == "atrous.explanation/1"
    assert found["input"] == [[1, 4, 40]]
    assert found["ms_after"] <= found["ms_before"]


def test_the_users_function_is_run(tmp_path):
    (tmp_path / "mine.py").write_text(
        "import torch\n"
        "def small():\n"
        "    return torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU())\n"
    )
    arguments = ("--input", "1,3,16,16", "--fresh", "--all")
    result = atrous("bench", "mine.py:small", *arguments, cwd=tmp_path)
    assert result.returncode == 0
    assert result.stdout.startswith("Sequential: ")
    result = atrous("bench", "mine.py:small", cwd=tmp_path)
    assert result.returncode == 2
    assert result.stderr == (
        "atrous: a Sequential needs an input shape to run on; give --input, such as 1,3,224,224.\n"
    )


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        (
            "--engines",
            "atrous,onnx",
            "--engines onnx is no engine; there are 'atrous',",
        ),
        ("--rounding", "up", "--rounding up names no sums; give 'direct' or 'winograd', or "),
    ],
)
def test_options_that_name_nothing_known_are_one_line(option, value, message):
    result = atrous("bench", "stack:k3", "-i", "1,4,16,16", option, value)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith(f"atrous: {message}")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("source", ["zoo:resnet18", "zoo:unet"])
def test_what_is_no_module_is_said_in_one_line_with_what_to_give(source):
    message = f"atrous: {source} is no PyTorch module, and only those can be optimized"
    result = atrous("bench", source)
    assert result.returncode == 2
    assert result.stderr.startswith(message)
    assert "timm:NAME" in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("layer", ["upk2s2", "tconvk2s2", "avgk3"])
def test_layers_that_stacks_are_not_made_of_are_named(layer):
    with pytest.raises((UnsupportedError, ReadError)):
        module_of(f"stack:k3 {layer}", (1, 4, 16, 16))


def test_progress_tells_layers_and_shares():
    told = []
    model, example = module_of("stack:k3x8 k3d2", (1, 4, 16, 16))
    from atrous.verbs.bench import bench_module

    bench_module(
        model,
        example,
        threads=None,
        training=False,
        fresh=True,
        progress=lambda layer, share: told.append((layer, share)),
    )
    assert {layer for layer, _ in told} == {"conv1", "conv2"}
    assert [share for _, share in told] == sorted(share for _, share in told)
