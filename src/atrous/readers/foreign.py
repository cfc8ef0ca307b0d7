"""Files of other kinds, told by what is in them: what they are, and what to do with them."""

from __future__ import annotations

import zipfile
from difflib import get_close_matches
from pathlib import Path

__all__ = ["foreign_file", "foreign_folder", "missing_file", "name_of"]

_TF2ONNX = "convert it to .onnx first, with tf2onnx: python -m tf2onnx.convert"
_CHECKPOINT = (
    "is a PyTorch checkpoint, which holds weights and no graph: load it into its module and give "
    "that, as MODULE:FUNCTION on the command line."
)
_OF_KERAS = (
    "load the model in Keras 3 and give that (on the command line a function that returns it, as "
    "FILE.py:FUNCTION), or save it as NAME.keras, which is read directly"
)
_LEAST = 12
_TAR = 257
_MOST_NAMES = 2000
_LONGEST = 120
_IMAGE = "is an image; give a model, as the path of an .onnx file."
_TENSORRT = (
    "is a TensorRT engine, which nothing turns back; give the .onnx file that it was made of."
)
_CORE_ML = "is a Core ML model, which nothing turns into .onnx; export its source instead."
_HEADS: tuple[tuple[bytes, str], ...] = (
    (b"\x1f\x8b", "is compressed with gzip; unpack it first: gunzip {name}"),
    (b"\xfd7zXZ", "is compressed with xz; unpack it first: unxz {name}"),
    (b"\x28\xb5\x2f\xfd", "is compressed with zstd; unpack it first: unzstd {name}"),
    (b"BZh", "is compressed with bzip2; unpack it first: bunzip2 {name}"),
    (b"7z\xbc\xaf\x27\x1c", "is a 7z archive; unpack it and give the .onnx file in it."),
    (
        b"GGUF",
        "is a GGUF file, which holds weights and no graph; give the model in PyTorch or ONNX.",
    ),
    (b"\x93NUMPY", "holds a NumPy array and no graph; give a model."),
    (b"\x89PNG", _IMAGE),
    (b"\xff\xd8\xff", _IMAGE),
    (b"GIF8", _IMAGE),
    (b"%PDF", "is a PDF; give a model, as the path of an .onnx file."),
    (b"ftrt", _TENSORRT),
    (b"ptrt", _TENSORRT),
)
"""What files begin with, and what they are."""
_TEXTS: tuple[tuple[bytes, str], ...] = (
    (
        b"version https://git-lfs",
        "is a pointer of Git LFS; fetch the file itself with git lfs pull.",
    ),
    (b"<!doctype html", "is a web page, as servers send for a file; download the model anew."),
    (b"<html", "is a web page, as servers send for a file; download the model anew."),
    (b"7767517", "is an ncnn model, which nothing turns back; give the .onnx file it was made of."),
)
"""The same of files of text, in small letters."""
_ENDINGS = {
    ".mlmodel": _CORE_ML,
    ".engine": _TENSORRT,
    ".plan": _TENSORRT,
    ".trt": _TENSORRT,
    ".bin": "holds weights and no graph; give the .onnx file or the module that they belong to.",
}
"""What files are whose beginning says nothing: asked last, where nothing else is known."""


def name_of(path: Path) -> str:
    """What a message calls a path: its last name, or all of it where it has none.

    >>> name_of(Path("models/unet.onnx")), name_of(Path())
    ('unet.onnx', '.')
    """
    return path.name or str(path)


def missing_file(path: Path) -> str:
    """That there is no such file, and the names near it in its folder."""
    if path.is_symlink():
        return (
            f"is a link that leads nowhere, to {path.readlink()}; put the file there, or point the "
            "link at it."
        )
    try:
        names = [entry.name for entry in path.parent.iterdir() if entry.is_file()]
    except OSError:
        return f"there is no such file, and no folder {path.parent} that can be read."
    stems = {name: Path(name).stem.lower() for name in names[:_MOST_NAMES]}
    # An ending that most share makes no name near another.
    near = get_close_matches(path.stem.lower()[:_LONGEST], stems.values(), n=3, cutoff=0.7)
    alike = [name for name, stem in stems.items() if stem in near]
    if alike:
        best = get_close_matches(path.name[:_LONGEST], alike, n=3, cutoff=0)
        return f"there is no such file; near: {', '.join(best)}."
    kind = "a .keras" if path.suffix == ".keras" else "an .onnx"
    return f"there is no such file; give the path of {kind} file."


def foreign_folder(path: Path) -> str:
    """What a folder holds that is no `.onnx` file, and what to do; empty for any other."""
    if (path / "saved_model.pb").is_file():
        return (
            f"is a TensorFlow SavedModel, which holds no Keras model any more: where Keras made "
            f"it, {_OF_KERAS}; else {_TF2ONNX} --saved-model {path.name} --output m.onnx."
        )
    if path.suffix == ".mlpackage":
        return _CORE_ML.replace("model", "package")
    return ""


def foreign_file(path: Path) -> str:
    """What a file is that is no ONNX model, and what to do with it; empty where nobody knows.

    Told by the first bytes, and by the names inside archives; names of files prove nothing, and
    are asked last.
    """
    with path.open("rb") as file:
        head = file.read(512)
    for start, said in _HEADS:
        if head.startswith(start):
            return said.format(name=path.name)
    if head.startswith(b"PK\x03\x04"):
        return _archive(path)
    if head[4:8] == b"TFL3":
        return f"is a TensorFlow Lite model; {_TF2ONNX} --tflite {path.name} --output m.onnx."
    if head.startswith(b"\x89HDF\r\n\x1a\n"):
        return f"is an HDF5 file, as Keras saved models: {_OF_KERAS}."
    if head[:1] == b"\n" and any(op in head for op in (b"Placeholder", b"Const", b"VarHandleOp")):
        return f"is a TensorFlow graph; {_TF2ONNX} --graphdef {path.name} --output m.onnx."
    if head[4:8] == b"ORTM":
        return "is a model of ONNX Runtime's own format; give the .onnx file that it was made of."
    if head[_TAR : _TAR + 5] == b"ustar":
        return "is a tar archive; unpack it and give the .onnx file in it."
    text = head.lstrip(b"\xef\xbb\xbf \r\n\t")
    for start, said in _TEXTS:
        if text.lower().startswith(start):
            return said
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
        return _json_file(head)
    if path.suffix.lower() in _ENDINGS:
        return _ENDINGS[path.suffix.lower()]
    return "is text, and no model; give an .onnx file." if _is_text(head) else ""


def _json_file(head: bytes) -> str:
    """What a file of JSON is."""
    if b'"cells"' in head:
        return "is a notebook; write the model's function into a .py file: FILE.py:FUNCTION."
    return "is JSON: a report of --json is no source; `inspect NEW --diff OLD.json` takes it."


def _is_text(head: bytes) -> bool:
    """Whether a file begins as text does, in UTF-8, whose last letter may be cut."""
    letters = head.decode("utf-8", errors="ignore")
    rest = len(head) - len(letters.encode())
    return rest < 4 and all(letter.isprintable() or letter.isspace() for letter in letters)


def _archive(path: Path) -> str:
    """What a zip file holds."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError):
        return "is a zip file that is damaged; export or download it anew."
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
        return "is a Keras model under another name: call it NAME.keras, which is read directly."
    if ends and all(name.endswith(".npy") for name in ends):
        return "holds NumPy arrays and no graph; give a model."
    return "is a zip file; unpack it and give the .onnx file in it."
