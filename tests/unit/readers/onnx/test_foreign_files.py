"""Files of other frameworks are called what they are, and what to do; damaged ones stay damaged."""

from __future__ import annotations

import json
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import atrous
from tests.command import atrous as run


def _zip(path: Path, *names: str) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, "{}")


def _program(path: Path) -> None:
    torch.export.save(torch.export.export(torch.nn.ReLU(), (torch.zeros(1, 2),)), path)


def _safetensors(path: Path) -> None:
    head = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    path.write_bytes(struct.pack("<Q", len(head)) + head + bytes(4))


FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "weights.pt": (lambda p: torch.save({"w": torch.zeros(2)}, p), "a PyTorch checkpoint"),
    "old.pth": (
        lambda p: torch.save({"w": torch.zeros(2)}, p, _use_new_zipfile_serialization=False),
        "a Python pickle",
    ),
    "program.pt2": (_program, r"an exported PyTorch program: in Python give torch.export.load"),
    "script.pt": (lambda p: _zip(p, "s/data.pkl", "s/code/a.py", "s/constants.pkl"), "TorchScript"),
    "weights.safetensors": (_safetensors, "a safetensors file"),
    "keras.zip": (lambda p: _zip(p, "config.json", "metadata.json"), "NAME.keras"),
    "model.keras": (lambda p: _zip(p, "config.json", "metadata.json"), "Keras does not load it"),
    "model.h5": (lambda p: p.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(60)), "an HDF5 file.*keras"),
    "model.tflite": (
        lambda p: p.write_bytes(b"\x1c\0\0\0TFL3" + bytes(64)),
        r"TensorFlow Lite model; .* --tflite model.tflite",
    ),
    "frozen.pb": (
        lambda p: p.write_bytes(b"\n\x1a\n\x01x\x12\x0bPlaceholder" + bytes(40)),
        "a TensorFlow graph",
    ),
    "model.xml": (
        lambda p: p.write_text('<?xml version="1.0"?>\n<net name="x" version="11"/>'),
        "an OpenVINO model",
    ),
    "arrays.npz": (lambda p: np.savez(p, a=np.zeros(3)), "NumPy arrays"),
    "report.json": (lambda p: p.write_text('{"schema": "atrous.inspection/1"}'), "is JSON"),
    "some.zip": (lambda p: _zip(p, "readme.txt"), "a zip file; unpack it"),
    "half.zip": (lambda p: p.write_bytes(b"PK\x03\x04" + bytes(9)), "a zip file that is damaged"),
    "noise.onnx": (lambda p: p.write_bytes(b"\xff" * 99), "is truncated, or no ONNX file"),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_of_another_kind_is_called_what_it_is(name: str, tmp_path: Path) -> None:
    make, said = FILES[name]
    path = tmp_path / name
    make(path)
    with pytest.raises(atrous.ReadError, match=f"^{name}: .*{said}"):
        atrous.inspect(path, (1, 1, 8, 8))
    made = run("inspect", str(path), "--input", "1,1,8,8")
    assert made.returncode == 2
    assert len(made.stderr.strip().splitlines()) == 1


def test_folders_of_other_frameworks_are_named(tmp_path: Path) -> None:
    saved = tmp_path / "saved"
    saved.mkdir()
    (saved / "saved_model.pb").write_bytes(b"")
    with pytest.raises(atrous.ReadError, match="a TensorFlow SavedModel"):
        atrous.inspect(saved)
    package = tmp_path / "m.mlpackage"
    package.mkdir()
    with pytest.raises(atrous.ReadError, match="a Core ML package"):
        atrous.inspect(package)
    with pytest.raises(atrous.ReadError, match=r"is a folder; give the \.onnx"):
        atrous.inspect(tmp_path)
