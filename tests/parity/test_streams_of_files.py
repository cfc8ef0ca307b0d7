"""ONNX files as streams: what comes out is what ONNX Runtime makes of the whole clip."""

from __future__ import annotations

import random
from contextlib import suppress
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

import atrous
from atrous.errors import AtrousError, ReadError, UnsupportedError
from atrous.runners.onnx import OnnxRunner
from atrous.runners.rebuilt.agreement import rebuilt_file
from tests.exporting import export
from tests.streamed import chunks_of, pushed
from tests.streamed_networks import NETWORKS

# Exported with PyTorch's two exporters, at a length that is open or fixed, at several versions.
FILES = [
    ("HiFi-GAN", "open", 18),
    ("TCN", "scripted", 17),
    ("WaveNet without padding", "scripted, fixed", 18),
    ("DAC encoder", "fixed", 20),
    ("SoundStream decoder", "scripted, fixed", 18),
    ("WaveNet", "scripted", 19),
    ("GRU", "scripted", 18),
    ("subpixel", "scripted, fixed", 17),
    ("pools", "scripted", 18),
    ("EEGNet", "fixed", 19),
]


def written(name: str, how: str, opset: int, path: Path) -> Path:
    layout = NETWORKS[name]
    model, example = layout.model(dtype=torch.float32), torch.zeros(layout.shape)
    time = layout.time % len(layout.shape)
    options: dict = {"dynamo": "scripted" not in how, "opset_version": opset}
    if how == "open":
        options["dynamic_shapes"] = ({time: torch.export.Dim.DYNAMIC},)
    elif how == "scripted":
        options |= {"input_names": ["x"], "dynamic_axes": {"x": {time: "time"}}}
    return export(model, example, path, **options)


def whole_by_onnx(path: Path, x: torch.Tensor) -> torch.Tensor:
    runner = OnnxRunner(path)
    return torch.from_numpy(runner.run([x.numpy()], runner.outputs)[runner.outputs[0]])


def assert_alike(found: torch.Tensor, whole: torch.Tensor) -> None:
    assert found.shape == whole.shape
    assert (found - whole).abs().max() <= 1e-5 * whole.abs().max()


@pytest.mark.parametrize(("name", "how", "opset"), FILES)
def test_a_file_streams_as_onnx_runtime_runs_it(name, how, opset, tmp_path):
    layout = NETWORKS[name]
    path = written(name, how, opset, tmp_path / "net.onnx")
    fixed = "fixed" in how
    live = atrous.stream(str(path), None if fixed else layout.shape, axis=layout.time)
    for length in [layout.length] if fixed else [layout.length, layout.length + 40]:
        x = torch.randn(layout.resized(length))
        live.reset()
        found = pushed(live, x, chunks_of(length, random.Random(1), 40))
        assert_alike(found, whole_by_onnx(path, x))
    if fixed:
        # Made for one length, it streams clips of every other as the model does.
        x, model = (
            torch.randn(layout.resized(layout.length + 48)),
            layout.model(dtype=torch.float32),
        )
        live.reset()
        with torch.no_grad():
            assert_alike(pushed(live, x, [x.shape[layout.time]]), model(x))
    else:
        assert live.plan.hop == live.hop


def channels_last(path: Path) -> Path:
    """What Keras writes: `(batch, time, channels)`, turned around each convolution."""
    rng = np.random.default_rng(0)
    stored = {
        "w1": rng.standard_normal((6, 2, 1, 5)), "b1": rng.standard_normal(6),
        "w2": rng.standard_normal((6, 6, 1, 3)), "dense": rng.standard_normal((6, 3)),
        "scale": rng.standard_normal(6),
    }  # fmt: skip
    constants = [numpy_helper.from_array(v.astype(np.float32), k) for k, v in stored.items()]
    constants.append(numpy_helper.from_array(np.array([1], np.int64), "axes"))
    make = helper.make_node
    nodes = [
        make("Unsqueeze", ["x", "axes"], ["a"], "expand"),
        make("Transpose", ["a"], ["b"], "to_first", perm=[0, 3, 1, 2]),
        make("Conv", ["b", "w1", "b1"], ["c"], "model/conv1d/Conv1D", auto_pad="SAME_UPPER"),
        make("Relu", ["c"], ["d"], "model/conv1d/Relu"),
        make("Transpose", ["d"], ["e"], "to_last", perm=[0, 2, 3, 1]),
        make("Squeeze", ["e", "axes"], ["f"], "squeeze"),
        make("Mul", ["f", "scale"], ["g"], "model/scale/mul"),
        make("Unsqueeze", ["g", "axes"], ["h"], "expand_2"),
        make("Transpose", ["h"], ["i"], "to_first_2", perm=[0, 3, 1, 2]),
        make("Conv", ["i", "w2"], ["j"], "model/conv1d_2/Conv1D", pads=[0, 4, 0, 0],
             dilations=[1, 2]),
        make("Transpose", ["j"], ["k"], "to_last_2", perm=[0, 2, 3, 1]),
        make("Squeeze", ["k", "axes"], ["l"], "squeeze_2"),
        make("MatMul", ["l", "dense"], ["y"], "model/dense/MatMul"),
    ]  # fmt: skip
    graph = helper.make_graph(
        nodes, "keras",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", "time", 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", "time", 3])], constants,
    )  # fmt: skip
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), path)
    return path


def test_channels_last_stream_along_their_middle(tmp_path):
    path = channels_last(tmp_path / "keras.onnx")
    live = atrous.stream(str(path), (1, 60, 2))
    assert (live.axis, live.output_axis, live.latency) == (1, 1, 2)
    x = torch.randn(1, 77, 2)
    assert_alike(pushed(live, x, [1, 5, 30, 41]), whole_by_onnx(path, x))
    message = onnx.load(path)
    assert repr(atrous.stream(message, (1, 60, 2))).startswith("Stream of keras, (1, time, 2)")


class Reversed(nn.Module):
    def forward(self, x):
        return x - x.mean(2, keepdim=True)


class Added(nn.Module):
    """A position for each of 40 frames, and no more."""

    def __init__(self):
        super().__init__()
        self.place = nn.Parameter(torch.randn(1, 3, 40))

    def forward(self, x):
        return x + self.place


def test_what_is_no_stream_is_told_by_file_node_and_fix(tmp_path, monkeypatch):
    path = export(Reversed(), torch.zeros(1, 3, 40), tmp_path / "mean.onnx", dynamo=False)
    with pytest.raises(
        UnsupportedError, match=r"mean\.onnx: /ReduceMean: mean takes all positions"
    ):
        atrous.stream(str(path), axis=2)
    with pytest.raises(UnsupportedError, match=r"say which, such as axis=2\.$"):
        atrous.stream(str(path))
    path = export(Added(), torch.zeros(1, 3, 40), tmp_path / "added.onnx", dynamo=False)
    with pytest.raises(
        (ReadError, UnsupportedError),
        match=r"added\.onnx.*made for 1x3x40 alone.*export it with a dynamic time length",
    ):
        atrous.stream(str(path), axis=2)
    path = channels_last(tmp_path / "keras.onnx")
    with pytest.raises(ReadError, match=r"keras\.onnx: the input 'x' has the open shape"):
        atrous.stream(str(path))
    with pytest.raises(ReadError, match=r"nowhere\.onnx: "):
        atrous.stream(str(tmp_path / "nowhere.onnx"))
    (tmp_path / "cut.onnx").write_bytes(path.read_bytes()[:200])
    with pytest.raises(ReadError, match=r"cut\.onnx: is truncated"):
        atrous.stream(str(tmp_path / "cut.onnx"))
    large = onnx.load(path)
    with pytest.raises(UnsupportedError, match="give a shorter example"):
        atrous.stream(large, (1, 1 << 40, 2))


def test_damaged_and_hostile_files_are_refused_with_one_error(tmp_path):
    held = sorted((Path(__file__).parents[1] / "fuzz" / "corpus" / "onnx_files").iterdir())
    for number, file in enumerate(held):
        path = tmp_path / f"{number}.onnx"
        path.write_bytes(file.read_bytes())
        try:
            with suppress(AtrousError):
                rebuilt_file(path)
        except Exception as error:
            error.add_note(f"fed with {file}")
            raise
