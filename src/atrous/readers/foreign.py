"""Files of other kinds, told by what is in them: what they are, and what to do with them."""

from __future__ import annotations

import zipfile
from pathlib import Path

__all__ = ["foreign_file", "foreign_folder"]

_TF2ONNX = "convert it to .onnx first, with tf2onnx: python -m tf2onnx.convert"
_CHECKPOINT = (
    "is a PyTorch checkpoint, which holds weights and no graph: load it into its module and give "
    "that, as MODULE:FUNCTION on the command line."
)
_LEAST = 12


def foreign_folder(path: Path) -> str:
    """What a folder holds that is no `.onnx` file, and what to do; empty for any other."""
    if (path / "saved_model.pb").is_file():
        return f"is a TensorFlow SavedModel; {_TF2ONNX} --saved-model {path.name} --output m.onnx."
    if path.suffix == ".mlpackage":
        return "is a Core ML package, which nothing turns into .onnx; export its source instead."
    return ""


def foreign_file(path: Path) -> str:
    """What a file is that is no ONNX model, and what to do with it; empty where nobody knows.

    Told by the first bytes, and by the names inside archives; names of files prove nothing.
    """
    with path.open("rb") as file:
        head = file.read(512)
    if head.startswith(b"PK\x03\x04"):
        return _archive(path)
    if head[4:8] == b"TFL3":
        return f"is a TensorFlow Lite model; {_TF2ONNX} --tflite {path.name} --output m.onnx."
    if head.startswith(b"\x89HDF\r\n\x1a\n"):
        return (
            f"is an HDF5 file, as Keras saved models; load it in Keras, save a SavedModel, and "
            f"{_TF2ONNX} --saved-model FOLDER --output m.onnx."
        )
    if head[:1] == b"\n" and any(op in head for op in (b"Placeholder", b"Const", b"VarHandleOp")):
        return f"is a TensorFlow graph; {_TF2ONNX} --graphdef {path.name} --output m.onnx."
    text = head.lstrip(b"\xef\xbb\xbf \r\n\t")
    if text.startswith(b"<") and b"<net" in head:
        return (
            "is an OpenVINO model, which nothing turns back; give the .onnx file or the module "
            "that it was made of."
        )
    if head[:1] == b"\x80" and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        return "is a Python pickle, " + _CHECKPOINT.removeprefix("is a PyTorch checkpoint, ")
    if len(head) > _LEAST and head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 1 << 27:
        return "is a safetensors file, " + _CHECKPOINT.removeprefix("is a PyTorch checkpoint, ")
    if text.startswith((b"{", b"[")):
        return "is JSON: a report of --json is no source; `inspect NEW --diff OLD.json` takes it."
    return ""


def _archive(path: Path) -> str:
    """What a zip file holds."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError):
        return "is a zip file that is damaged."
    ends = {name.rpartition("/")[2] for name in names}
    inside = {part for name in names for part in name.split("/")[:-1]}
    if "archive_format" in ends or ("models" in inside and "archive_version" in ends):
        return (
            "is an exported PyTorch program: in Python give torch.export.load(path), on the "
            "command line a function that returns it, as FILE.py:FUNCTION."
        )
    if "data.pkl" in ends:
        if "code" in inside or "constants.pkl" in ends:
            return (
                "is a TorchScript archive, whose graph is not read: give the module that it was "
                "made of, or export that to .onnx."
            )
        return _CHECKPOINT
    if "config.json" in ends:
        return (
            "is a Keras model; load it in Keras, save a SavedModel (model.export), and "
            f"{_TF2ONNX} --saved-model FOLDER --output m.onnx."
        )
    if ends and all(name.endswith(".npy") for name in ends):
        return "holds NumPy arrays and no graph."
    return "is a zip file; unpack it and give the .onnx file in it."
