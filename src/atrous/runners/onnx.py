"""Runs an ONNX model in ONNX Runtime as it is written, and gives out any of its values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from atrous.errors import MissingDependencyError, ReadError, RunError, unknown
from atrous.readers.onnx.file import check, load
from atrous.readers.onnx.graph import copied, one_line
from atrous.shown import how_many

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray

__all__ = ["OnnxRunner", "random_inputs", "session_of"]

_FOLDER = "session.model_external_initializers_file_folder_path"


class OnnxRunner:
    """A model that gives out the values it is asked for, by their names in the file.

    Every node runs as it is written, without the runtime's optimisations, on the CPU. `folder`
    holds the external data of a model that is not given by its path. Raises `ReadError` for a file
    that cannot be read, and `MissingDependencyError` where onnxruntime is not installed.
    """

    def __init__(
        self,
        model: str | Path | onnx.ModelProto,
        *,
        folder: Path | None = None,
        threads: int = 1,
    ) -> None:
        _runtime()
        source = load(model)
        check(source)
        self.folder = folder if folder is not None else source.folder
        self.threads = threads
        self._model = copied(source.model)
        graph = self._model.graph
        stored = {item.name for item in graph.initializer}
        self.inputs = tuple(item.name for item in graph.input if item.name not in stored)
        self.outputs = tuple(item.name for item in graph.output)
        self._made = {name for node in graph.node for name in node.output if name}
        self._given = stored | set(self.inputs)
        self._session: tuple[tuple[str, ...], Any] | None = None

    def run(self, inputs: Sequence[NDArray[Any]], names: Sequence[str]) -> dict[str, NDArray[Any]]:
        """The values called `names`, for inputs in the order of `self.inputs`.

        Raises `UnknownNameError` for a name that no node makes, and `RunError` with ONNX Runtime's
        words where it refuses the model or the inputs.
        """
        if len(inputs) != len(self.inputs):
            raise RunError(
                f"got {how_many(len(inputs), 'input')}, and the model has {len(self.inputs)}: "
                f"{', '.join(self.inputs)}."
            )
        feed = dict(zip(self.inputs, inputs, strict=True))
        wanted = tuple(dict.fromkeys(name for name in names if name not in feed))
        for name in wanted:
            if name not in self._made and name not in self.outputs:
                raise unknown("value", name, sorted(self._made))
        found: dict[str, NDArray[Any]] = {}
        if wanted:
            session = self._ready(wanted)
            try:
                made = session.run(list(wanted), feed)
            except Exception as error:  # the runtime has classes of its own for everything
                raise RunError(f"ONNX Runtime stopped: {one_line(error)}.") from None
            found = dict(zip(wanted, made, strict=True))
        return {name: found[name] if name in found else feed[name] for name in names}

    def _ready(self, names: tuple[str, ...]) -> Any:
        if self._session is not None and self._session[0] == names:
            return self._session[1]
        import onnx

        graph = self._model.graph
        held = len(graph.output)
        try:
            for name in names:
                if name not in self.outputs:
                    graph.output.append(onnx.ValueInfoProto(name=name))
            session = session_of(self._model, self.folder, self.threads)
        finally:
            del graph.output[held:]
        self._session = (names, session)
        return session


def session_of(
    model: onnx.ModelProto, folder: Path | None, threads: int, *, optimized: bool = False
) -> Any:
    """A session on the CPU, with the runtime's optimisations or every node as it is written.

    `threads` of 0 are as many as the machine has cores. Raises `RunError` where the runtime does
    not load the model, with what it says.
    """
    runtime = _runtime()
    level = runtime.GraphOptimizationLevel
    options = runtime.SessionOptions()
    options.graph_optimization_level = level.ORT_ENABLE_ALL if optimized else level.ORT_DISABLE_ALL
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    if folder is not None:
        options.add_session_config_entry(_FOLDER, str(folder))
    data = model.SerializeToString()
    try:
        return runtime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the runtime has classes of its own for everything
        raise RunError(f"ONNX Runtime does not load it: {one_line(error)}.") from None


def _runtime() -> Any:
    try:
        import onnxruntime
    except ImportError:
        raise MissingDependencyError(
            "running an .onnx file needs onnxruntime, which is not installed; "
            "pip install 'atrous[onnxruntime]'."
        ) from None
    return onnxruntime


def random_inputs(
    model: str | Path | onnx.ModelProto,
    shapes: Mapping[str, Sequence[int]],
    seed: int = 0,
) -> list[NDArray[Any]]:
    """One array for each input of the model, in order: numbers from a normal distribution.

    `shapes` has the sizes by name; an input that it leaves out has those of the file, which must
    be numbers then. Bytes are drawn from 0 to 255, other integers from 0 and 1, which are places in
    every table.
    """
    from onnx import helper

    from atrous.readers.onnx.inputs import declared

    graph = load(model).model.graph
    stored = {item.name for item in graph.initializer}
    rng = np.random.default_rng(seed)
    made: list[NDArray[Any]] = []
    for item in graph.input:
        if item.name in stored:
            continue
        said = shapes.get(item.name, declared(item) or ["?"])
        sizes = [size for size in said if isinstance(size, int)]
        if len(sizes) != len(said):
            raise ReadError(
                f"the input {item.name[:80]!r} has the open shape "
                f"{'x'.join(map(str, said))}; give its sizes."
            )
        dtype = np.dtype(helper.tensor_dtype_to_np_dtype(item.type.tensor_type.elem_type or 1))
        if dtype.kind == "b":
            made.append(rng.integers(0, 2, sizes).astype(bool))
        elif dtype.kind in "iu":
            made.append(rng.integers(0, 256 if dtype == np.uint8 else 2, sizes).astype(dtype))
        else:
            made.append(rng.standard_normal(sizes).astype(dtype))
    return made
