"""`atrous stream`: sound from files and pipes through a model, block by block."""

from __future__ import annotations

import json
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from atrous.certification.stream_run import StreamRun
from atrous.errors import ArgumentError
from atrous.verbs import stream_file as module
from tests.command import assert_refuses, atrous
from tests.exporting import export

MODELS = """
import torch
from torch import nn


def denoiser():
    torch.manual_seed(0)
    up = nn.ConvTranspose1d(4, 1, 8, 4, 2)
    return nn.Sequential(nn.Conv1d(1, 4, 8, 4, 2), nn.ReLU(), nn.Conv1d(4, 4, 3, padding=1), up)


def vocoder():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv1d(3, 4, 3, padding=1), nn.ConvTranspose1d(4, 1, 8, 4, 2)).double()


def normed():
    return nn.Sequential(nn.Conv1d(1, 2, 3), nn.InstanceNorm1d(2))


class Twice(nn.Conv1d):
    def forward(self, x):
        return super().forward(x), x


def twice():
    return Twice(1, 2, 3)
"""


@pytest.fixture
def place(tmp_path, monkeypatch):
    (tmp_path / "models.py").write_text(MODELS)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def offline(name, clip):
    import torch

    space: dict = {}
    exec(MODELS, space)
    model = space[name]().eval()
    with torch.no_grad():
        return model(torch.from_numpy(clip)).numpy()


def sound(length=1003):
    return np.random.default_rng(0).standard_normal(length).astype(np.float32) / 10


def test_a_sound_file_comes_out_as_the_whole_would(place):
    soundfile = pytest.importorskip("soundfile", reason="needs the extra `sound`")
    soundfile.write("in.wav", sound(), 16000, subtype="FLOAT")
    shown = atrous("stream", "models.py:denoiser", "in.wav", "out.wav", "--block", "100", "--check")
    assert "1,003 samples in, 1,000 out" in shown.stdout
    assert "11 blocks of 100 (6.25 ms)" in shown.stdout
    assert "real time" in shown.stdout
    assert "the same as offline" in shown.stdout
    made, rate = soundfile.read("out.wav", dtype="float32")
    assert rate == 16000
    np.testing.assert_allclose(made, offline("denoiser", sound()[None, None])[0, 0], atol=1e-6)
    assert_refuses("stream", "models.py:denoiser", "models.py", "o.wav", says="is no sound")


def test_frames_of_an_array_become_a_sound_of_its_rate(place):
    soundfile = pytest.importorskip("soundfile", reason="needs the extra `sound`")
    np.save("mel.npy", frames := np.random.default_rng(0).standard_normal((1, 3, 50)))
    arguments = ("mel.npy", "out.wav", "--rate", "100", "--block", "7", "--json")
    data = json.loads(atrous("stream", "models.py:vocoder", *arguments).stdout)
    assert (data["schema"], data["samples"], data["outputs"]) == ("atrous.stream-run/1", 50, 200)
    made, rate = soundfile.read("out.wav", dtype="float32")
    frames = frames.astype(np.float32).astype(np.float64)
    assert rate == 400
    np.testing.assert_allclose(made, offline("vocoder", frames)[0, 0], atol=1e-6)
    assert_refuses("stream", "models.py:vocoder", "mel.npy", "o.wav", says="give that of the input")


def test_raw_numbers_go_through_a_pipe(place):
    ran = subprocess.run(
        [sys.executable, "-m", "atrous", "stream", "models.py:denoiser", "-", "-"],
        input=sound().tobytes(),
        capture_output=True,
        check=True,
    )
    made = np.frombuffer(ran.stdout, np.float32)
    np.testing.assert_allclose(made, offline("denoiser", sound()[None, None])[0, 0], atol=1e-6)
    assert b"1,003 samples in, 1,000 out" in ran.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["missing.wav", "out.wav"], "missing.wav: no such file"),
        (["in.raw", "-", "--json"], "both go to standard output"),
        (["in.raw", "out.npy", "--channels", "2"], "does not take|fit|channels|size"),
        (["in.raw", "out.wav"], "give that of the input, --rate"),
    ],
)
def test_what_cannot_be_streamed_is_one_line(place, arguments, says):
    sound(1004).tofile("in.raw")
    result = atrous("stream", "models.py:denoiser", *arguments)
    assert result.returncode == 2
    assert len(result.stderr.strip().splitlines()) == 1
    assert any(part in result.stderr for part in says.split("|"))


def test_of_several_outputs_none_is_dropped_in_silence(place):
    np.save("in.npy", sound()[None])
    assert_refuses("stream", "models.py:twice", "in.npy", "out.npy", says="gives 2 outputs")
    assert not Path("out.npy").exists()


@pytest.mark.parametrize(("length", "block"), [(0, 4), (1, 4), (9, 1), (50, 2)])
def test_blocks_that_make_nothing_yet_and_clips_without_samples_pass(place, length, block):
    from torch import nn

    model = nn.Sequential(nn.Conv1d(1, 2, 9, padding=8), nn.Conv1d(2, 1, 5, padding=4)).eval()
    np.save("in.npy", sound(length)[None])
    told = module.stream_file(model, "in.npy", "out.npy", block=block, input=(1, 1, 60), check=True)
    assert told.equal is not False
    assert np.load("out.npy").shape == (1, length + 12 if length else 0)
    with pytest.raises(ArgumentError, match="is what is read; write to another file"):
        module.stream_file(model, "in.npy", "./in.npy")


def test_a_layer_that_sees_the_whole_clip_is_named(place):
    sound(1004).tofile("in.raw")
    assert_refuses("stream", "models.py:normed", "in.raw", "out.npy", says="1: ")


def test_a_stream_that_is_not_what_the_offline_run_gives_is_said(tmp_path, monkeypatch):
    import torch

    np.save(tmp_path / "in.npy", sound(200)[None])
    model = torch.nn.Conv1d(1, 1, 3, padding=1)
    places = str(tmp_path / "in.npy"), str(tmp_path / "out.npy")
    assert module.stream_file(model, *places, block=64, check=True).equal
    whole = module.run_whole
    monkeypatch.setattr(module, "run_whole", lambda *x: [y * 1.001 for y in whole(*x)])
    found = module.stream_file(model, *places, block=64, check=True)
    assert (found.equal, "NOT what" in str(found)) == (False, True)
    monkeypatch.setattr(module, "run_whole", lambda *x: [y[..., 1:] for y in whole(*x)])
    assert module.stream_file(model, *places, block=64, check=True).error == float("inf")


def test_the_real_time_factor_is_seconds_for_a_second_of_sound():
    run = StreamRun("net", 8000, 8000, 80, 100, Fraction(16000), 31, 8, 0.25, 9.0, 3.0)
    assert run.real_time == 0.5
    assert "0.5 seconds a second, 2 times as fast as it sounds" in str(run)
    assert run.equal is None


def test_an_onnx_file_runs_live_on_sound(place):
    import torch

    space: dict = {}
    exec(MODELS, space)
    export(space["denoiser"]().eval(), torch.zeros(1, 1, 400), Path("net.onnx"), dynamo=False)
    sound(1003).tofile("in.raw")
    shown = atrous("stream", "net.onnx", "in.raw", "out.npy", "--block", "100").stdout
    assert "net.onnx" in shown
    assert "1,003 samples in, 1,000 out" in shown
    made = offline("denoiser", sound(1003)[None, None])[0]
    np.testing.assert_allclose(np.load("out.npy"), made, atol=1e-6)
    np.save("own.npy", sound(400)[None])
    assert (
        "the same as offline" in atrous("stream", "net.onnx", "own.npy", "o.npy", "--check").stdout
    )
    np.save("other.npy", sound(500)[None])
    says = "it is made for 400 samples alone, not for 500"
    assert_refuses("stream", "net.onnx", "other.npy", "o.npy", "--check", says=says)
    np.save("two.npy", sound(800).reshape(2, 400))
    says = "net.onnx: it takes (1, 1) numbers at a time, and two.npy has 2 channels"
    assert_refuses("stream", "net.onnx", "two.npy", "o.npy", says=says)
