"""What is typed wrongly, over all verbs: exit code 2, one line that says why, nothing written."""

from __future__ import annotations

import gzip
import io
import os
import struct
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shlex import split

import numpy as np
import onnx
import pytest
import torch
import typer
from onnx import TensorProto, helper, numpy_helper

from atrous.cli.app import app
from tests.command import atrous

MODELS = """
from torch import nn

ready = 5

def net():
    return nn.Sequential(nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.ReLU()), (1, 3, 16, 16)

def open():
    return net()[0]

def nothing():
    net()

def weights():
    return net()[0].state_dict()

def three():
    return (*net(), 5)

def kind():
    return nn.Conv2d

async def later():
    return net()

def raises():
    raise ValueError("two\\nlines")

def needs(width):
    return net()

def text():
    return "resnet50"

def refuses():
    class Refuses(nn.Module):
        def forward(self, x):
            raise RuntimeError("not today")
    return Refuses(), (1, 3, 8, 8)
"""


LOCKED = ("locked.onnx", "locked")
FULL = ("full.html", "full.svg", "full.png", "full.onnx", "full.pt2")


def model(path: Path, shape: tuple[int | str, ...] = (1, 3, 16, 16), data: str = "") -> None:
    """A convolution of stride 2 and a ReLU; with its weight in the file `data`."""
    weight = numpy_helper.from_array(np.ones((4, 3, 3, 3), np.float32), "w")
    conv = helper.make_node(
        "Conv", ["x", "w"], ["c"], name="conv", strides=[2, 2], pads=[1, 1, 1, 1]
    )
    graph = helper.make_graph(
        [conv, helper.make_node("Relu", ["c"], ["y"], name="relu")],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [weight],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    if data:
        onnx.save(made, path, save_as_external_data=True, location=data, size_threshold=0)
    else:
        onnx.save(made, path)


def packed(name: str) -> bytes:
    """A zip file that holds one file of that name."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr(name, "{}")
    return made.getvalue()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the commands below are given, and find untouched."""
    here = tmp_path_factory.mktemp("bad")
    model(here / "net.onnx")
    model(here / "open.onnx", ("n", 3, "h", "w"))
    for name in ("gone", "short", "outside"):
        model(here / f"{name}.onnx", data=f"{name}.bin")
    (here / "gone.bin").unlink()
    (here / "short.bin").write_bytes(b"12")
    outside = onnx.load(here / "outside.onnx", load_external_data=False)
    for entry in outside.graph.initializer[0].external_data:
        if entry.key == "location":
            entry.value = "../outside.bin"
    onnx.save(outside, here / "outside.onnx")
    whole = (here / "net.onnx").read_bytes()
    torch.save({"w": torch.zeros(2)}, here / "weights.pt")
    torch.save({"w": torch.zeros(2)}, here / "old.pth", _use_new_zipfile_serialization=False)
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as archive:
        archive.add(here / "net.onnx", "net.onnx")
    files = {
        "cut.onnx": whole[:150],
        "empty.onnx": b"",
        "noise.onnx": b"\xff" * 99,
        "page.onnx": b"<!DOCTYPE html><html>404",
        "pointer.onnx": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
        "net.onnx.gz": gzip.compress(whole),
        "net.zip": packed("net/readme.txt"),
        "half.zip": packed("a")[:20],
        "net.tar": tar.getvalue(),
        "weights.safetensors": struct.pack("<Q", 2) + b"{}" + bytes(8),
        "text.keras": b"12345",
        "model.h5": b"\x89HDF\r\n\x1a\n" + bytes(60),
        "model.tflite": b"\x1c\0\0\0TFL3" + bytes(64),
        "model.xml": b'<?xml version="1.0"?>\n<net name="x" version="11"/>',
        "model.engine": b"ftrt" + bytes(64),
        "model.mlmodel": b"\x08\x04\x12\x10" + bytes(30),
        "frozen.pb": b"\n\x1a\n\x01x\x12\x0bPlaceholder" + bytes(40),
        "model.gguf": b"GGUF" + bytes(64),
        "model.ort": b"\x18\0\0\0ORTM" + bytes(64),
        "photo.png": b"\x89PNG\r\n\x1a\n" + bytes(64),
        "steps.ipynb": b'{"cells": []}',
        "config.yaml": b"backbone: resnet50\n",
        "half.json": b"{",
        "other.json": b'{"a": 1}',
        "models.py": MODELS.encode(),
        "syntax.py": b"def f(:\n",
        "spoilt.py": b"import nothing_of_that_name\n",
        "half.toml": b"[tool.atrous\n",
        "kept.html": b"kept",
        "kept.svg": b"kept",
        "kept.png": b"kept",
        "kept.onnx": b"kept",
        "kept.pt2": b"kept",
    }
    for name, content in files.items():
        (here / name).write_bytes(content)
    (here / "folder").mkdir()
    (here / "folder.onnx").mkdir()
    (here / "loop.onnx").symlink_to("loop.onnx")
    (here / "locked.onnx").write_bytes(whole)
    (here / "locked").mkdir()
    for name in FULL:
        (here / name).symlink_to("/dev/full")
    return here


BAD = (
    # Files: missing, damaged, of other kinds.
    ("inspect net.onx", "net.onx: there is no such file; near: net.onnx"),
    ("sizes nothing.onnx", "nothing.onnx: there is no such file; give the path of"),
    ("inspect none/net.onnx", "there is no such file, and no folder none"),
    ("bench missing.pt", "missing.pt: there is no such file"),
    ("effective zoo:unet --samples 100000000000000000000", "--samples"),
    ("sizes zoo:unet --at-least 100000000000000000000", "--at-least"),
    ("inspect .", ".: is a folder"),
    ("run models.py:net none.tif x.zarr", "none.tif: there is no such file"),
    ("run models.py:net net.onnx x.zarr", "net.onnx: images are .npy, .zarr, .tif and .tiff"),
    ("run models.py:net net.onnx x.png", "x.png: results are written to .zarr and .npy"),
    ("run models.py:net net.onnx none/x.zarr", "none/x.zarr: there is no folder none"),
    ("run models.py:weights net.onnx x.zarr", "which is no model"),
    ("run zoo:unet net.onnx x.zarr", "zoo:unet: it has no weights"),
    ("inspect loop.onnx", "loop.onnx: is a link that leads nowhere"),
    ("check text.keras --macs <=1G", "text.keras: is no .keras file"),
    ("inspect mising.keras", "mising.keras: there is no such file"),
    ("inspect cut.onnx", "cut.onnx: is truncated, or no ONNX file at all"),
    ("audit net.onnx cut.onnx", "cut.onnx: is truncated"),
    ("effective empty.onnx", "empty.onnx: is empty; export or download it anew"),
    ("convert noise.onnx -s 1 -o kept.onnx", "noise.onnx: is truncated"),
    ("inspect page.onnx", "page.onnx: is a web page"),
    ("sizes pointer.onnx", "pointer.onnx: is a pointer of Git LFS; fetch the file itself with git"),
    ("inspect net.onnx.gz", "is compressed with gzip; unpack it first: gunzip net.onnx.gz"),
    ("inspect net.zip", "net.zip: is a zip file; unpack it"),
    ("inspect half.zip", "half.zip: is a zip file that is damaged"),
    ("compare net.tar", "net.tar: is a tar archive; unpack it"),
    ("inspect folder", "folder: is a folder; give the .onnx file in it"),
    ("compare folder.onnx", "folder.onnx: is a folder"),
    ("inspect /dev/null", "is no regular file"),
    ("bench weights.pt", "weights.pt: is a PyTorch checkpoint, which holds weights and no graph"),
    ("audit net.onnx old.pth", "old.pth: is a Python pickle"),
    ("convert weights.pt -s 8 -o kept.pt2", "weights.pt: is a PyTorch checkpoint"),
    ("compare weights.safetensors", "weights.safetensors: is a safetensors file"),
    ("sizes model.h5", "model.h5: is an HDF5 file"),
    ("inspect model.tflite", "model.tflite: is a TensorFlow Lite model"),
    ("inspect model.xml", "model.xml: is an OpenVINO model"),
    ("inspect model.engine", "model.engine: is a TensorRT engine"),
    ("inspect model.mlmodel", "model.mlmodel: is a Core ML model"),
    ("inspect frozen.pb", "frozen.pb: is a TensorFlow graph"),
    ("inspect model.gguf", "model.gguf: is a GGUF file"),
    ("inspect model.ort", "model.ort: is a model of ONNX Runtime's own format"),
    ("inspect photo.png", "photo.png: is an image; give a model"),
    ("inspect steps.ipynb", "steps.ipynb: is a notebook; write the model's function into a .py"),
    ("inspect config.yaml", "config.yaml: is text, and no model"),
    ("inspect other.json", "other.json: is JSON"),
    ("inspect gone.onnx", "'w' is kept in 'gone.bin', which is not beside the model; put it there"),
    ("convert short.onnx -s 1 -o kept.onnx", "'short.bin', which ends at 2; the file is trunca"),
    ("sizes outside.onnx", "'../outside.bin', outside the folder of the model"),
    ("inspect locked.onnx", "locked.onnx: cannot be opened: Permission denied"),
    # What is no file.
    ("inspect ''", "the source is empty: give the path of an .onnx file, or zoo:NAME"),
    ("inspect https://example.org/net.onnx", "net.onnx is an address: download the file"),
    ("inspect resnet50", "'resnet50' is no file; the known network is zoo:resnet50"),
    ("sizes - ", "'-' is no source: give the path of an .onnx file, zoo:NAME"),
    ("inspect zoo:", "no network is named ''; known: alexnet"),
    ("bench zoo:resnet51", "no network is named 'resnet51'; near: resnet50"),
    ("audit zoo:vgg16 zoo:vgg61", "no network is named 'vgg61'; near: vgg16"),
    ("sizes zo:vgg16", "no module is named 'zo' here or among what is installed; near: zoo:..."),
    ("effective timm:resnet5O", "no timm model is named 'resnet5O'; near: resnet50"),
    ("inspect timm:", "timm: stands before the name of a model; write timm:resnet18"),
    ("bench timm:resnet18?pretrained=true", "timm:resnet18: pretrained would download weights"),
    ("inspect timm:resnet18?wide", "'wide' is no argument; write them as name=value"),
    ("inspect timm:resnet18?wide=2", "timm cannot make it with wide=2"),
    ("inspect timm:resnet18?weights=no.pt", "weights=no.pt: there is no such file"),
    ("convert torchvision:resnet5O -s 8", "no torchvision model is named 'resnet5O'"),
    ("inspect torchvison:resnet18", "near: torchvision:..."),
    # Code of one's own.
    ("inspect models.py", "models.py is Python code; name the function to run in it"),
    ("inspect models.py:", "'' is no name of a function; give FILE.py:FUNCTION"),
    ("inspect nothing.py:net", "nothing.py: there is no such file"),
    ("sizes nothing:net", "no module is named 'nothing' here"),
    ("inspect models.py:nett", "models.py: no function is named 'nett'; near: net"),
    ("bench models.py:nothing", "models.py:nothing gives None, which is no model; return a torch"),
    ("audit models.py:weights net.onnx", "models.py:weights gives an OrderedDict"),
    ("effective models.py:ready", "models.py:ready gives an int, which is no model"),
    ("convert models.py:kind -s 1", "models.py:kind gives the class Conv2d"),
    ("sizes models.py:three", "models.py:three gives a tuple"),
    ("inspect models.py:later", "models.py:later gives a coroutine"),
    ("check models.py:raises --macs <=1G", "raised ValueError: two lines (models.py, line 28)"),
    ("inspect models.py:needs", "missing 1 required positional argument: 'width'"),
    ("inspect models.py:text", "models.py:text: 'resnet50' is no source"),
    ("inspect models.py:refuses", "on inputs of 1x3x8x8 it raises RuntimeError: not today"),
    ("bench models.py:refuses", "RuntimeError: not today"),
    (
        "inspect models.py:open",
        "does not say what it takes; give its shape with batch and channels",
    ),
    ("bench models.py:open", "give --input, such as 1,3,224,224"),
    ("inspect syntax.py:f", "raised SyntaxError: invalid syntax (syntax.py, line 1)"),
    ("compare spoilt.py:f", "No module named 'nothing_of_that_name' (spoilt.py, line 1)"),
    # Inputs.
    ("inspect net.onnx -i 1,3", "the input 'x' has the 4 dimensions 1x3x16x16 and was given 1x3"),
    ("sizes net.onnx -i 1,3,0,8", "'1,3,0,8' has a size of 0; every size is at least 1"),
    ("audit net.onnx net.onnx -i 1,3,-8,8", "has a size of -8"),
    ("convert net.onnx -s 1 -i small", "--input 'small' is no shape; give batch, channels and"),
    ("inspect net.onnx -i ''", "--input is empty; give batch, channels and sizes"),
    ("inspect net.onnx -i", "Option '-i' requires an argument; see `atrous inspect --help`"),
    ("inspect net.onnx -i 1,4,16,16", "conv: a weight of shape (4, 3, 3, 3) in 1 group reads 3"),
    ("inspect net.onnx -i z=1,3,16,16", "has no input 'z'; its inputs: x"),
    ("inspect net.onnx -i x=1,3,8,8 -i x=1,3,8,8", "--input x is given twice"),
    ("inspect net.onnx -i 1,3,8,8 -i x=1,3,8,8", "give each as NAME=SHAPE"),
    ("inspect net.onnx -i 1,3,8,8 -i 1,3,8,8", "has 1 input (x) and 2 shapes were given"),
    ("effective open.onnx", "has the open shape (n, 3, h, w); give its sizes, for example --input"),
    ("inspect open.onnx -i h=16", "or only what is open: --input w=512"),
    ("inspect open.onnx -i 1,3,9999999999,9999999999", "more than 2**48 are not read"),
    ("effective models.py:net -i 1,3,9999999,9999999", "there is not enough memory for that; give"),
    ("inspect models.py:open -i 1,3,9999999,9999999", "there is not enough memory for that"),
    ("bench models.py:net -i 1,3,9999999,9999999", "more than 2147483648 elements; give a small"),
    ("inspect models.py:net()", "'net()' is no name of a function; give FILE.py:FUNCTION"),
    ("inspect net.onnx,open.onnx", "net.onnx,open.onnx: there is no such file"),
    ("check net.onnx macs<=1G", "unexpected extra argument(s) (macs<=1G); see `atrous check"),
    ("compare k3 d2", "`d2` is part of a layer; write it without a space"),
    ("inspect zoo:resnet18 -i 1,3,224", "an input of 3 dimensions, where it takes 4"),
    ("inspect zoo:resnet18 -i x=1,3,64,64", "zoo:resnet18: it has one input; give its shape alone"),
    ("sizes stack:k3 -i 1,3,8 -i 1,3,8", "stack:k3: it has one input, and 2 shapes were given"),
    ("inspect zoo:unet -i 1,3,30,44", "sizes near it that run: 1x3x16x32 and 1x3x32x48"),
    ("bench models.py:net -i 1,4,8,8", "to have 3 channels, but got 4 channels"),
    ("inspect net.onnx --value x=fast", "--value 'x=fast' is no value; give NAME=NUMBER"),
    ("sizes net.onnx --value z=1", "has no input 'z' to give a value; its inputs: x"),
    ("inspect zoo:resnet18 --value x=1", "gives numbers to inputs of an ONNX file; leave it out"),
    ("learn gridding -i 1,3", "--input 1,3 is not batch, channels and 1 to 3 sizes"),
    ("learn gridding -i 2,3,8,8", "--input 2,3,8,8 has a batch of 2"),
    ("explore k3 -i x --no-open", "--input: 'x' is no shape"),
    ("explore k3 -i 1,3,9999,9999 --no-open", "the input has more than 1,048,576 positions"),
    # Layers, positions, numbers, units.
    ("inspect net.onnx -l cnv", "no layer is named 'cnv'; near: conv"),
    ("inspect net.onnx --output cnv", "no layer is named 'cnv'; near: conv"),
    ("effective models.py:net -l 7", "no layer is named '7'; known: 0, 1"),
    ("check net.onnx --no gridding -l cnv", "no layer is named 'cnv'; near: conv"),
    ("convert net.onnx -s 1 --outputs cnv", "no layer is named 'cnv'; near: conv"),
    ("audit net.onnx net.onnx --outputs ''", "--outputs is empty; give names of layers"),
    ("inspect net.onnx -l conv --at 99,99", "--at 99,99 is not in an output of (8, 8)"),
    ("effective net.onnx --at a", "--at 'a' is no position; give one index an axis"),
    ("inspect net.onnx --depth two", "--depth: give a whole number; see `atrous inspect --help`"),
    ("effective net.onnx --samples 0", "--samples: give 1 or more; see `atrous effective --help`"),
    ("bench models.py:net --threads 9999", "--threads: give 1024 or less"),
    ("inspect net.onnx --sort size", "no order is named 'size'; known: order, name, field"),
    ("inspect net.onnx --rate fast", "--rate fast is no sample rate; give positions per second"),
    ("compare --rate 16k", "--rate 16k is along time, and the axes here are h, w; give --pixel"),
    ("sizes net.onnx --rate ''", "--rate '' is no sample rate"),
    ("effective net.onnx --pixel 5", "--pixel 5 is no length; give a number above 0 with nm, um"),
    ("inspect net.onnx --pixel 1um,2um,3um", "3 sizes for the axes h, w; give one for all axes"),
    ("effective stack:k3 -i 1,1,9,9 --share 2", "--share 2.0 is not above 0 and at most 1"),
    ("effective models.py:net --seed -1", "--seed -1 is no whole number from 0 to 2**63 - 1"),
    (f"effective models.py:net --seed {1 << 64}", "is no whole number from 0 to 2**63 - 1"),
    ("effective net.onnx --weights best", "no kind of weights is named 'best'; known: given"),
    ("effective net.onnx", "net.onnx is an ONNX model, which gives no gradients; give the PyTorch"),
    ("effective stack:k3 --weights random", "paths are counted without weights"),
    ("inspect models.py:net --training adm", "no optimizer is named 'adm'; near: adam"),
    ("inspect models.py:net --training sgd?x=1", "optimizer sgd cannot be made"),
    ("inspect models.py:net --training sgd --budget 8", "--budget 8 is no size of memory"),
    ("inspect net.onnx --training sgd", "net.onnx: the memory of training is that of a PyTorch"),
    ("compare --kernel 0", "--kernel 0 is no whole number from 1 to 255"),
    ("compare --input 1,3", "a stack takes an input of batch, channels and 1 to 3 spatial sizes"),
    ("sizes net.onnx --at-least x", "--at-least: give a whole number"),
    ("rates five", "SIZE 'five' is no whole number; give one, or one an axis"),
    ("rates 0", "SIZE 0 is no whole number of at least 1"),
    ("rates 513 --rates 0", "--rates 0 is no whole number from 1"),
    ("rates 513 --output-stride 0", "--output-stride 0 is no whole number from 1"),
    ("rates 512x1024 --rates 6x12x18", "2, 3 axes do not go together; size, --output-stride N"),
    ("learn gridd", "no topic is named 'gridd'; near: gridding"),
    ("learn gridding --kernel 99", "--kernel 99 is no whole number from 1 to 15"),
    ("learn --kernel 5", "these numbers are for a topic; give a TOPIC, or `all`"),
    ("zoo resnet50", "unexpected extra argument(s) (resnet50); see `atrous zoo --help`"),
    # Rules.
    ("check net.onnx", "there are no rules for net.onnx: give rules, such as --macs '<=20G'"),
    ("check --macs <=5", "give the SOURCE that these rules are for"),
    ("check net.onnx --macs 5", "--macs: a rule starts with one of <= >= == != < >"),
    ("check net.onnx --macs <=five", "--macs: a number goes here, such as <=20G"),
    ("check net.onnx --macs =<5", "--macs: '=<' compares nothing; write <="),
    ("check net.onnx --macs <=5GB", "--macs: 'GB' is no unit of macs; use k, M, G or T"),
    ("check net.onnx --macs '<=5 >=3'", "'>=3' is another rule; put a comma before it"),
    ("check net.onnx --macs <=+2%", "macs: <=+2% counts from a baseline; give one with --baseline"),
    ("check net.onnx --memory <=5", "--memory: memory needs a unit; use B, KiB"),
    ("check net.onnx --coverage >=150%", "--coverage: coverage is a share of at most 1"),
    ("check net.onnx --look-back <=40ms", "<=40ms is a time; give the sample rate with --rate"),
    ("check net.onnx --no griding", "no finding is named 'griding'; near: gridding"),
    ("check net.onnx --mac <=5", "No such option: --mac; near: --macs; see `atrous check --help`"),
    ("check net.onnx --macs <=+2% --baseline nt.onnx", "nt.onnx: there is no such file; near: net"),
    ("check --config half.toml", "half.toml: not TOML"),
    ("check --config none.toml", "none.toml: No such file or directory; give SOURCE"),
    # Options that do not go together, and places where nothing can be written.
    ("inspect net.onnx --at 1,1", "--at is a position of one layer's output; give --layer as well"),
    ("inspect net.onnx --diff net.onnx --sort macs", "leave out --layer, --depth and --sort"),
    ("inspect net.onnx --diff none.json", "none.json: No such file or directory; give a SOURCE"),
    ("inspect net.onnx --diff half.json", "half.json: it is no JSON"),
    ("inspect net.onnx --diff other.json", "other.json: it has no schema"),
    ("inspect net.onnx --html kept.html --diff other.json", "a saved report has no network"),
    ("inspect net.onnx --image photo.png", "--image lies behind the footprints of a page"),
    ("inspect net.onnx --autocast float16", "--autocast and --budget are for --training"),
    ("compare k3 --kernel 3", "--kernel is for the usual schemes; write it into the stacks"),
    ("compare k3 k3", "'k3' is given twice; give each its own name, as NAME=STACK"),
    ("inspect net.onnx --html folder", "--html folder is a folder; name a file in it"),
    ("inspect net.onnx --html ''", "--html is empty; name a file, such as name.html"),
    ("inspect net.onnx --html none/page.html", "--html none/page.html: there is no folder none"),
    ("inspect net.onnx --html net.onnx", "--html net.onnx: give it the ending .html"),
    ("compare k3 --animate none.gif", "--animate none.gif: give it the ending .svg"),
    ("effective stack:k3 --plot none.pdf", "--plot none.pdf: give it the ending .png or .svg"),
    ("inspect net.onnx --html locked/page.html", "nothing can be written there; name another"),
    ("inspect net.onnx --graph kept.svg --html kept.html --image photo.png", "is no image that"),
    ("inspect net.onnx --graph kept.svg --diff other.json", "other.json: it has no schema"),
    ("inspect net.onnx --animate kept.svg -l cnv", "no layer is named 'cnv'"),
    ("inspect net.onnx --animate kept.svg --graph full.svg -l conv", "--graph full.svg: No space"),
    ("compare k3 -i 1,1,9,9 --animate full.svg", "--animate full.svg: No space left"),
    ("effective stack:k3 -i 1,1,9,9 --plot full.png", "--plot full.png: No space left"),
    ("convert net.onnx -s 1 -o full.onnx", "cannot be written: No space left on device"),
    ("convert models.py:net -s 1 -o full.pt2", "--output full.pt2: "),
    ("convert net.onnx -s 1 -o kept.onnx --html full.html", "--html full.html: No space left"),
    ("convert net.onnx -s 1 -o kept.onnx --html kept.html --image no.png", "no.png: there is no s"),
    ("convert net.onnx -s 1 -o locked/a.onnx", "--output locked/a.onnx: nothing can be written"),
    ("convert net.onnx -s 1 -o net.onnx", "is the source itself, which would be lost"),
    ("convert net.onnx -s 1 -o folder", "--output folder is a folder; name a file in it"),
    ("convert net.onnx -s 1 -o ''", "--output is empty; name a file, such as converted.onnx"),
    ("convert net.onnx -s 1 -o none/a.onnx", "--output none/a.onnx: there is no folder none"),
    ("convert net.onnx -s 1 -o kept.pt2", "net.onnx is written as a .onnx file"),
    ("convert models.py:net -s 1 -o kept.onnx", "models.py:net is written as a .pt2 file"),
    ("convert zoo:resnet18 -s 8 -o kept.onnx", "has no weights, so there is nothing to write"),
    ("degrid noise.onnx -o kept.onnx", "noise.onnx: is truncated"),
    ("degrid net.onnx -o net.onnx", "is the source itself, which would be lost"),
    ("degrid zoo:resnet18 -o kept.onnx", "has no weights, so there is nothing to write"),
    ("degrid net.onnx --method x", "--method is x: use rates, front or tail"),
    ("degrid net.onnx --largest 0", "--largest 0 is no rate"),
    ("degrid net.onnx --at conv", "says where layers are put in"),
    ("degrid stack:maxk3d2 -i 1,1,9", "no layer has a rate to change"),
    ("explain noise.onnx", "noise.onnx: is truncated"),
    ("explain net.onnx --output cnv", "no layer is named 'cnv'; near: conv"),
    ("explain stack:k3 -i 1,1", "batch, channels and"),
    ("explain net.onnx --value z=1", "has no input 'z' to give a value; its inputs: x"),
    ("explain zo:vgg16", "no module is named 'zo' here"),
    ("explain stack:k3q -i 1,1,9", "'q' is not known"),
    ("convert net.onnx", "Missing option '--output-stride' / '-s'; see `atrous convert --help`"),
    ("convert net.onnx -s 0", "--output-stride 0 is no whole number of at least 1"),
    ("convert net.onnx -s 1.5", "--output-stride '1.5' is no stride; give one number"),
    ("convert net.onnx -s 3", "--output-stride 3 is no multiple of 2"),
    ("convert net.onnx -s 8", "there is no dilation to trade for stride"),
    ("convert net.onnx -s 1 --heads x", "--heads is x: use scale or keep"),
    ("audit net.onnx models.py:net", "an audit compares two of one kind"),
    ("audit net.onnx", "Missing argument 'CANDIDATE'; see `atrous audit --help`"),
    ("bench net.onnx", "net.onnx is no PyTorch module, and only those can be optimized"),
    ("bench 'stack:[k3 | k5]'", "a stack with concat is not made into modules"),
    ("bench models.py:net --training=yes", "does not take a value; see `atrous bench --help`"),
    ("explore --port 70000", "--port: give 65535 or less; see `atrous explore --help`"),
    ("explore --host 0.0.0.0", "No such option: --host; near: --port; see `atrous explore --help`"),
    ("explore '[k3 | k5]'", "a stack with branches or `global` is not edited here"),
    ("explore net.onnx", "net.onnx: `explore` takes a stack"),
    ("explore --export folder.onnx --pyodide folder", "--pyodide folder has no pyodide.mjs"),
    ("explore --export net.onnx", "net.onnx is there already"),
    ("explore --overwrite", "--pyodide and --overwrite are for --export"),
    ("design --kernel 1", "give kernels of at least 2"),
    ("design --kernel 0", "--kernel 0; give whole numbers"),
    ("design --depth 4:2", "depth is 4 to 2"),
    ("design --depth 100000", "--depth 100000 goes beyond what is searched (1,000)"),
    ("design --rates 999999999", "--rates 999999999 goes beyond what is searched (65,536)"),
    ("design --output-stride 99999999", "--output-stride 99999999 is more than is searched"),
    ("design --latency inf", "--latency inf is no limit; give a number above 0"),
    ("design --layer dense", "--layer dense is none of conv, separable"),
    ("design --rates x", "--rates 'x'; give whole numbers"),
    ("design -i 1,3", "is no shape with batch, channels and 1 to 3 sizes"),
    ("design --causal", "are along time; give an input of one axis"),
    ("design -i 1,1,64 --look-ahead x", "--look-ahead 'x'; give whole numbers"),
    ("design -i 1,1,64 --look-ahead 1,2", "--look-ahead 1,2; give input positions"),
    ("design --receptive-field 9999 --depth 3", "is out of reach of 3 layers"),
    ("stream", "Missing argument 'MODEL'; see `atrous stream --help`"),
    ("stream models.py:net", "Missing argument 'IN'; see `atrous stream --help`"),
    ("stream models.py:net a.wav b.wav", "a.wav: no such file"),
    ("stream models.py:net a.wav b.wav --block 0", "--block: give 1 or more"),
    ("stream models.py:net a.wav b.wav --block x", "--block"),
    # Stacks.
    ("stack ''", "the stack has no layers; write some, such as `k3s2x64 k3d2`"),
    ("stack zoo:vgg16", "zoo:vgg16: `stack` takes a stack"),
    ("stack k3q9", "layer 1 `k3q9`: 'q' is not known; use k s d p x"),
    ("stack k0", "kernel is 0: a window needs a whole kernel of at least 1"),
    ("stack k-3", "kernel is -3"),
    ("stack k3.5", "'.' is not known"),
    ("stack 'k3 x64'", "`x64` is part of a layer; write it without a space"),
    ("stack k3k5", "the kernel is given twice; leave one out"),
    ("stack k(1,7", "kernel needs a number here, such as 3 or (1,7)"),
    ("stack conv", "conv"),
    ("stack maxk2x64", "`max` keeps the channels of its input; leave `x` out"),
    ("stack upk3", "`up` has no kernel; write its factor as a stride, `ups2`"),
    ("stack '[k3 | k5'", "column 1: this `[` is not closed; add its `]`"),
    ("stack 'k3]'", "column 3: this `]` closes nothing"),
    ("stack 'k3 | k5'", "`|` joins branches inside brackets"),
    ("stack '[k3 | k5 + k1]'", "one bracket joins with `|` or with `+`, not both"),
    ("stack k3*0", "`*` takes a whole number of at least 1"),
    ("stack k3*99999", "the stack has 99,999 layers, of which at most 4,096 are read"),
    ("stack K3", "letters are small, as in `k3s2x64`"),
    ("sizes 'stack:global k5valid'", "a window of kernel 5 spans 5 inputs, got 1 with padding 0"),
    ("inspekt net.onnx", "No such command 'inspekt'; near: 'inspect'; see `atrous --help`"),
)
"""Commands, and a part of what each says."""


@contextmanager
def without_rights(folder: Path) -> Iterator[None]:
    """What is locked cannot be read, nor written into, also where everything may be."""
    access, opened = os.access, Path.read_bytes

    def refused(path: Path) -> bytes:
        if path.name in LOCKED:
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path)

    def allowed(path: str | Path, mode: int) -> bool:
        return Path(path).name not in LOCKED and access(path, mode)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "read_bytes", refused)
        patch.setattr(os, "access", allowed)
        yield


def written(folder: Path) -> dict[str, tuple[int, int]]:
    """Every file, by its size and the time when it was written."""
    found = (path for path in folder.rglob("*") if "__pycache__" not in path.parts)
    return {str(path): (path.lstat().st_size, path.lstat().st_mtime_ns) for path in found}


@pytest.mark.parametrize(("line", "says"), BAD, ids=[line for line, _ in BAD])
def test_what_is_typed_wrongly_is_one_line_and_nothing_is_written(folder, line, says):
    if "full." in line and not Path("/dev/full").exists():
        pytest.skip("the system has no full device")
    words = split(line)
    # Every other one asks for JSON, which makes no difference.
    if BAD.index((line, says)) % 2 and words[0] != "explore":
        words.insert(1, "--json")
    before = written(folder)
    with without_rights(folder):
        result = atrous(*words, cwd=folder)
    assert result.returncode == 2, result
    assert result.stdout == ""
    said, *place = result.stderr.removesuffix("\n").split("\n")
    assert said.startswith("atrous: "), result.stderr
    assert says in said
    # Below it at most the text that was typed, and a caret under its place.
    assert not place or (len(place) == 2 and place[1].strip() == "^"), result.stderr
    assert written(folder) == before


def test_every_verb_is_typed_wrongly_in_several_ways():
    verbs = [line.split()[0] for line, _ in BAD]
    commands = typer.main.get_command(app).commands
    assert {verb for verb in commands if verbs.count(verb) < 5} == {"zoo"}  # which takes nothing
    assert len({line for line, _ in BAD}) == len(BAD)
