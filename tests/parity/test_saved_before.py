"""What the version before wrote still loads and computes the same: models, choices, reports.

`tests/data/saved_0_1_0` was written by 0.1.0 with PyTorch 2.13: `.pt2` files by `atrous convert`,
modules by `torch.save`, choices by `atrous.optimize`, a report by `atrous inspect --json`. Beside
each is what it gave then, on the input of `given`; where more is understood now or refused with
another reason, what is said now.
"""

from __future__ import annotations

import gzip
import io
import json
import pickle
import shutil

import pytest
import torch
from torch import nn

import atrous
from tests.processes import ROOT, run_shell

SAVED = ROOT / "tests" / "data" / "saved_0_1_0"
PROGRAMS = sorted(path.name for path in (SAVED / "pt2").glob("*.gz"))
MODELS = sorted(path.name for path in (SAVED / "models").glob("*.gz"))


def given(shape, dtype=torch.float64):
    """The input that the expected values are for."""
    count = torch.Size(shape).numel()
    return torch.sin(torch.arange(count, dtype=torch.float64) * 0.7).reshape(shape).to(dtype)


def opened(folder, name):
    data = gzip.decompress((SAVED / folder / name).read_bytes())
    about = json.loads((SAVED / folder / f"{name.partition('.')[0]}.json").read_text())
    return io.BytesIO(data), about


def assert_computes(model, about):
    dtype = getattr(torch, about.get("dtype", "float64"))
    with torch.no_grad():
        made = model(given(about["input"], dtype))
    assert list(made.shape) == about["output"]
    wanted = torch.tensor(about["values"], dtype=dtype)
    close = {"rtol": 0, "atol": 1e-8 if dtype == torch.float64 else 2e-5}
    torch.testing.assert_close(made.flatten(), wanted, **close)


def layers_of(source, shape):
    return [
        [layer.name, layer.detail, list(layer.output_shape), [axis.size for axis in layer.field]]
        for layer in atrous.inspect(source, shape).layers
    ]


def test_every_kind_of_file_is_there():
    assert len(PROGRAMS) == 4
    assert len(MODELS) == 8


@pytest.mark.parametrize("name", PROGRAMS)
def test_an_exported_program_loads_computes_and_reads_as_it_did(name):
    atrous.conv(torch.zeros(1, 1, 5), torch.zeros(1, 1, 3))  # registers the operator
    file, about = opened("pt2", name)
    program = torch.export.load(file)
    assert {key: list(v.shape) for key, v in program.state_dict.items()} == about["state"]
    assert_computes(program.module(), about)
    assert layers_of(program, tuple(about["input"])) == about["layers"]


@pytest.mark.parametrize("name", MODELS)
def test_a_saved_module_loads_computes_and_can_be_saved_again(name):
    file, about = opened("models", name)
    model = torch.load(file, weights_only=False)
    assert_computes(model, about)
    assert_computes(pickle.loads(pickle.dumps(model)), about)
    assert {key: list(v.shape) for key, v in model.state_dict().items()} == about["state"]
    hooks = [hook for part in model.modules() for hook in part._forward_pre_hooks.values()]
    ours = {
        base.__name__
        for part in model.modules()
        for base in type(part).__mro__
        if base.__module__.startswith("atrous.") and base.__name__ != "OneOp"
    }
    assert sorted(ours | {type(hook).__name__ for hook in hooks}) == about["classes"]


@pytest.mark.parametrize("name", [name for name in MODELS if not name.startswith("optimized")])
def test_a_saved_module_is_read_and_converted_back_as_it_was(name):
    file, about = opened("models", name)
    model = torch.load(file, weights_only=False)
    shape = tuple(about["input"])
    assert layers_of(model, shape) == about["layers"]
    stride, wanted = about["back"]
    try:
        done = atrous.convert(model, stride, input=shape, measure=False)
        edits = [str(edit) for edit in done.edits]
        found = {"verdict": done.certificate.verdict, "edits": edits}
    except atrous.AtrousError as error:
        found = {"error": type(error).__name__, "text": str(error)}
    assert found == wanted


def test_an_optimized_module_still_explains_itself():
    file, about = opened("models", "optimized.pt.gz")
    explained = torch.load(file, weights_only=False).explain()
    assert explained.mode == about["mode"]
    assert [row.layer for row in explained.layers] == about["layers"]


def test_choices_that_were_measured_before_are_taken(tmp_path, monkeypatch):
    from atrous.optimization.layer.cache import Choices

    about = json.loads((SAVED / "cache" / "expected.json").read_text())
    shutil.copy(SAVED / "cache" / about["file"], tmp_path)
    choices = Choices(tmp_path / about["file"])
    held = {key: choices.get(key) for key in about["signatures"]}
    assert len(held) > 4
    assert all(held.values())
    # The calls of the same model have the same signatures, so none is measured again. Whole models
    # were not kept then.
    asked = []
    monkeypatch.setattr(choices, "put", lambda signature, _: asked.append(signature))
    monkeypatch.setenv("ATROUS_CACHE", str(tmp_path))
    from atrous.optimization.optimize import optimize_model

    layers = [nn.Conv2d(1, 4, 3, 1, 1), nn.ReLU(), nn.Conv2d(4, 4, 3, 1, 2, 2, groups=4)]
    model = nn.Sequential(*layers, nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1)).eval()
    optimize_model(model, given((1, 1, 8, 8), torch.float32), choices=choices)
    assert not [signature for signature in asked if not signature.startswith("whole ")]


def test_choices_of_an_older_kind_are_as_good_as_none():
    from atrous.optimization.layer.cache import Choices

    about = json.loads((SAVED / "cache" / "expected.json").read_text())
    old = Choices(SAVED / "cache" / "choices-of-schema-1.json")
    assert not any(map(old.get, about["signatures"]))


def test_a_saved_report_can_be_compared_with():
    wanted = (SAVED / "reports" / "expected.txt").read_text().partition("\n")[2]
    folder = SAVED / "reports"
    command = "atrous inspect 'stack:k3d2 k3d2 k3' -i 1,2,17 --diff old.json"
    result = run_shell(f"cd {folder} && COLUMNS=80 {command}")
    assert result.stdout == wanted


def test_a_class_that_is_nowhere_to_be_found_is_noticed(monkeypatch):
    from atrous.runtime import dense

    monkeypatch.delattr(dense, "PadInput")
    file, _ = opened("models", "hook.pt.gz")
    with pytest.raises(AttributeError, match="PadInput"):
        torch.load(file, weights_only=False)
