"""A run of a PyTorch module as the graph of the ATen calls that it makes.

Nothing but the calls is kept: no values, no Python. On fake tensors nothing is computed either.
Seen in PyTorch 2.13, and 2.6 has it alike: under inference mode a dispatch mode gets the calls as
the code makes them, `linear` and not the products that it is made of.
"""

from __future__ import annotations

import inspect
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, fields, is_dataclass
from itertools import chain
from operator import getitem
from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensor,
    FakeTensorMode,
    unset_fake_temporarily,
)
from torch.nn.modules.module import (
    register_module_forward_hook,
    register_module_forward_pre_hook,
)
from torch.utils import _pytree
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakTensorKeyDictionary

from atrous.frameworks.foretold import foretold
from atrous.frameworks.torch import numberless, unchanged

__all__ = [
    "IndicesWantedError",
    "Recording",
    "Stored",
    "ValuesNeededError",
    "named_leaves",
    "recorded",
]

MOST_NUMBERS = 1 << 16
_PASSED = {"prim", "profiler"}
_BY_SHAPE = {
    *("zeros_like", "ones_like", "full_like", "empty_like", "rand_like", "randn_like"),
    *("new_zeros", "new_ones", "new_full", "new_empty"),
}
_INDEXED = {"embedding", "embedding_bag", "one_hot", "index", "index_select", "gather"}
_NO_WRITES = {"detach_", "requires_grad_", "squeeze_", "unsqueeze_", "t_", "transpose_"}
_WITHOUT_NUMBERS = {"empty", "empty_like", "new_empty", "empty_strided", "new_empty_strided"}
_NEEDED = (DataDependentOutputException, DynamicOutputShapeException)


class ValuesNeededError(Exception):
    """The code asks for numbers that only a run has: what it is that it asks."""


class IndicesWantedError(Exception):
    """An op wants whole numbers where these inputs have others, by place among all tensors."""

    def __init__(self, op: str, inputs: frozenset[int]) -> None:
        super().__init__(f"{op} wants whole numbers")
        self.inputs = inputs


@dataclass(frozen=True, slots=True)
class Stored:
    """A tensor that a module holds or makes of numbers in its code: its name there, and itself."""

    name: str
    tensor: torch.Tensor


@dataclass(frozen=True, slots=True)
class Recording:
    """The calls of one run; placeholders are its inputs and, by their names, what is `stored`.

    Every node has its result, without values, in `meta["val"]`, and the module that it ran in as an
    exported graph has it. `asked` are the calls that gave the code a number which depends on the
    inputs.
    """

    graph: torch.fx.Graph
    inputs: tuple[str, ...]
    stored: Mapping[str, Stored]
    state: Mapping[str, torch.Tensor]
    asked: tuple[torch.fx.Node, ...] = ()

    @property
    def outputs(self) -> tuple[torch.fx.Node | None, ...]:
        """The nodes that make what comes out; None for what no call made."""
        (outputs,) = self.graph.output_node().args
        return tuple(outputs)


def recorded(
    module: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any], *, run: bool = False
) -> Recording:
    """The calls of `module(*args, **kwargs)`; the module is left as it was.

    Without `run`, tensors are fake: nothing is computed, and what needs values raises
    `ValuesNeededError`. Numbers that do not depend on the inputs are at hand in either case. What
    the module raises passes through.
    """
    recorder = _Recorder(module, run)
    with ExitStack() as around:
        around.enter_context(torch.inference_mode())
        around.enter_context(unchanged(module))
        if run:
            around.enter_context(_buffers_kept(module))
        around.enter_context(_called(module, recorder))
        if recorder.fake is not None:
            around.enter_context(recorder.fake)
        args, kwargs = recorder.take(module, args, kwargs)
        around.enter_context(recorder)
        try:
            made = module(*args, **kwargs)
        except _NEEDED as error:
            raise ValuesNeededError(f"{recorder.asked or error}") from error
        leaves = list(_tensors_of(made))
    return recorder.recording(leaves)


def named_leaves(
    module: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> list[tuple[str, Any]]:
    """The leaves of a call's arguments, named after the parameters of `forward` that take them.

    Leaves inside a list or a dict are called by the path to them: `images_0`, `batch_mask`.
    """
    try:
        bound = inspect.signature(module.forward).bind(*args, **kwargs)
        held: dict[str, Any] = {}
        for name, value in bound.arguments.items():
            kind = bound.signature.parameters[name].kind
            if kind is inspect.Parameter.VAR_KEYWORD:
                held.update(value)
            else:
                held[name] = value
    except (TypeError, ValueError):
        held = {f"args_{i}": value for i, value in enumerate(args)} | dict(kwargs)
    leaves, _ = _pytree.tree_flatten_with_path(held)
    return [("_".join(_step_name(part) for part in path).lower(), leaf) for path, leaf in leaves]


def _step_name(part: Any) -> str:
    """One step of the path to a leaf, as a part of a name."""
    key = next(getattr(part, name) for name in ("key", "idx", "name") if hasattr(part, name))
    return re.sub(r"[^a-zA-Z0-9]", "_", str(key))


class _ByIdentity:
    """Values by the tensor itself, which stays as long as this does."""

    def __init__(self) -> None:
        self._held: dict[int, tuple[torch.Tensor, Any]] = {}

    def get(self, tensor: torch.Tensor) -> Any:
        found = self._held.get(id(tensor))
        return None if found is None else found[1]

    def __setitem__(self, tensor: torch.Tensor, value: Any) -> None:
        self._held[id(tensor)] = (tensor, value)


class _Recorder(TorchDispatchMode):
    """Notes every call as a node of a graph, in the module whose code makes it."""

    def __init__(self, module: nn.Module, run: bool) -> None:
        super().__init__()
        self.fake = None if run else FakeTensorMode(allow_non_fake_inputs=True)
        self.graph = torch.fx.Graph()
        self.asked = ""
        self.given: list[torch.fx.Node] = []
        self.state: dict[str, torch.Tensor] = {}
        self.stored: dict[str, Stored] = {}
        self.inputs: list[str] = []
        self._module = module
        self._names: dict[int, str] = {}
        # Fake tensors are small and stay; a run's go as the code lets them go.
        self._nodes: Any = WeakTensorKeyDictionary() if run else _ByIdentity()
        self._tainted: set[int] = set()
        self._rewritten: Counter[int] = Counter()
        self._lifted: dict[tuple[int, int], torch.fx.Node] = {}
        self._fakes: dict[int, torch.Tensor] = {}
        self._real: dict[int, torch.Tensor] = {}
        self._dependent: set[torch.fx.Node] = set()
        self._frames: list[dict[str, Any]] = [{}]
        self._last: torch.fx.Node | None = None
        both = (module.named_parameters, module.named_buffers)
        for name, tensor in chain.from_iterable(each(remove_duplicate=False) for each in both):
            self.state[name] = tensor
            self._names.setdefault(id(tensor), name)

    # Inputs

    def take(
        self, module: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments with a placeholder for each tensor among them."""
        names = iter(named_leaves(module, args, kwargs))
        leaves, spec = _pytree.tree_flatten((tuple(args), dict(kwargs)))
        taken = []
        for leaf in leaves:
            name, _ = next(names, ("args", None))
            if isinstance(leaf, torch.Tensor):
                leaf = leaf if self.fake is None else self.fake.from_tensor(leaf)
                node = self._placeholder(name, leaf)
                self.inputs.append(node.name)
                self._dependent.add(node)
            taken.append(leaf)
        positional, named = _pytree.tree_unflatten(taken, spec)
        return positional, named

    def _placeholder(self, name: str, tensor: torch.Tensor) -> torch.fx.Node:
        """A node for a tensor that no call makes; all of them stand in front."""
        after = self._last if self._last is not None else self.graph._root
        with self.graph.inserting_after(after):
            node = self.graph.create_node("placeholder", name, name=name)
        self._last = node
        if name not in self.stored and name not in self.inputs:
            # A graph avoids the names of builtins, which here are names and nothing else.
            node.name = name
        node.meta["val"] = self._faked(tensor) if self.fake else _without_values(tensor)
        self._keep(tensor, node)
        return node

    def _keep(self, tensor: torch.Tensor, node: Any) -> None:
        """From now on `tensor` is what `node` makes."""
        self._nodes[tensor] = node

    # Modules

    def enter(self, path: str, cls: type[nn.Module], count: int) -> None:
        """A module is called, for the `count`-th time."""
        key = f"{path}@{count}" if count else path
        self._frames.append({key: (path, cls)} if path else {})

    def leave(self, depth: int) -> None:
        """The module of that depth has returned."""
        del self._frames[depth:]

    @property
    def depth(self) -> int:
        """How many calls of modules are open."""
        return len(self._frames)

    @property
    def path(self) -> str:
        """The path of the innermost module that runs."""
        return next((path for path, _ in self._frames[-1].values()), "")

    # Calls

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the call, and note it."""
        kwargs = kwargs or {}
        if func.namespace in _PASSED:
            return func(*args, **kwargs)
        tensors: list[torch.Tensor] = []
        _each_tensor(tensors.append, [*args, *kwargs.values()])
        nodes = [self._node_of(tensor) for tensor in tensors]
        by_id = {id(t): node for t, node in zip(tensors, nodes, strict=True)}
        depends = any(node in self._dependent for node in nodes) or any(
            _memory(tensor) in self._tainted for tensor in (tensors if self._tainted else ())
        )
        if func.overloadpacket.__name__ in _BY_SHAPE:
            depends = False
        if depends and tensors and _writes(func):
            self._taint(tensors[0])
        try:
            made, real = self._made(func, args, kwargs, tensors, depends)
        except _NEEDED:
            self.asked = self.asked or f"{func} in {self.path or type(self._module).__name__}"
            raise
        except Exception as error:
            wanted = self._wanted(func, nodes)
            if wanted:
                raise IndicesWantedError(str(func), wanted) from error
            raise

        def noted(tensor: torch.Tensor) -> torch.fx.Node:
            return by_id[id(tensor)]

        node = self.graph.create_node(
            "call_function",
            func,
            tuple(_each_tensor(noted, list(args))),
            {key: _each_tensor(noted, value) for key, value in kwargs.items()},
            name=func.overloadpacket.__name__,
        )
        node.meta["nn_module_stack"] = self._frames[-1]
        if tensors and isinstance(made, torch.Tensor) and func._schema.returns[0].alias_info:
            held = self._faked(tensors[0])
            node.meta["alias"] = made is not held and _memory(made) == _memory(held)
        self._bind(node, made, real, depends)
        if depends and isinstance(made, bool | int | float | complex):
            self.given.append(node)
        return made

    def _made(
        self, func: Any, args: Any, kwargs: Any, tensors: Sequence[torch.Tensor], depends: bool
    ) -> tuple[Any, Any]:
        """What the call makes, and where nothing depends on the inputs also its numbers."""
        if self.fake is None:
            made = func(*args, **kwargs)
            return made, None if depends else made
        real: Any = None
        if not depends and self._is_repeatable(func, tensors):
            real = self._on_numbers(func, args, kwargs)
            if real is not None and tensors and _writes(func):
                self._rewritten[_memory(self._real.get(id(tensors[0]), tensors[0]))] += 1
        if real is not None and not isinstance(real, torch.Tensor | list | tuple):
            return real, real
        args, kwargs = _each_tensor(self._faked, list(args)), _each_tensor(self._faked, kwargs)
        try:
            made = foretold(func, args, kwargs)
            return func(*args, **kwargs) if made is None else made, real
        except _NEEDED:
            if real is None:
                raise
            return _each_tensor(self.fake.from_tensor, real), real

    def _wanted(self, func: Any, nodes: Sequence[torch.fx.Node]) -> frozenset[int]:
        """The inputs that an op which failed would have as whole numbers."""
        if func.overloadpacket.__name__ not in _INDEXED:
            return frozenset()
        found = set()
        for node in nodes:
            while node.meta.get("alias") or _is_cast(node):
                node = node.args[0]
            if node.name in self.inputs and node.meta["val"].is_floating_point():
                found.add(self.inputs.index(node.name))
        return frozenset(found)

    def _is_repeatable(self, func: Any, tensors: Sequence[torch.Tensor]) -> bool:
        """Whether the call says the same of the same numbers, which are all at hand, and few."""
        return (
            torch.Tag.nondeterministic_seeded not in func.tags
            and func.overloadpacket.__name__ not in _WITHOUT_NUMBERS
            and not (func._schema.is_mutable and any(id(t) in self._names for t in tensors))
            and (
                func.overloadpacket.__name__ in _BY_SHAPE
                or all(id(t) in self._real or self._is_small(t) for t in tensors)
            )
        )

    def _is_small(self, tensor: torch.Tensor) -> bool:
        """Whether it is a tensor with numbers, few enough to work with."""
        if isinstance(tensor, FakeTensor | nn.Parameter) or tensor.is_meta:
            return False
        return tensor.numel() <= MOST_NUMBERS and _memory(tensor) not in self._tainted

    def _on_numbers(self, func: Any, args: Any, kwargs: Any) -> Any:
        """What the call makes of numbers; None where that is too much, or fails."""

        by_shape = func.overloadpacket.__name__ in _BY_SHAPE

        def number(tensor: torch.Tensor) -> torch.Tensor:
            held = self._real.get(id(tensor), tensor)
            if by_shape and type(held) is FakeTensor:
                return torch.empty(
                    held.shape if held.numel() <= MOST_NUMBERS else 0, dtype=held.dtype
                )
            return held

        with unset_fake_temporarily(), suppress(Exception):
            args, kwargs = _each_tensor(number, list(args)), _each_tensor(number, kwargs)
            return func(*args, **kwargs)
        return None

    def _bind(self, node: torch.fx.Node, made: Any, real: Any, depends: bool) -> None:
        """The node is what made these results."""
        if depends:
            self._dependent.add(node)
        several = isinstance(made, list | tuple)
        node.meta["val"] = (
            [_without_values(part) for part in made] if several else _without_values(made)
        )
        if real is not None and self.fake is not None:
            node.meta["settled"] = True
        if _is_index(real):
            node.meta["real"] = real.clone() if self.fake is None else _cloned(real)
        for index, part in enumerate(made if several else (made,)):
            if not isinstance(part, torch.Tensor):
                continue
            if several and node.target._schema.returns[0].alias_info:
                # Views, of what may be written to before they are read.
                self._piece(part, node, index)
            else:
                self._keep(part, (node, index) if several else node)
            if depends or real is None or self.fake is None:
                self._real.pop(id(part), None)
            else:
                number = real[index] if several else real
                if number.numel() <= MOST_NUMBERS:
                    self._real[id(part)] = number

    def _taint(self, tensor: torch.Tensor) -> None:
        """What depends on the inputs is written into this memory, whoever reads it."""
        self._tainted.add(_memory(tensor))
        real = self._real.get(id(tensor))
        if real is None:
            return
        if _memory(real) in self._rewritten:
            raise ValuesNeededError("writes to a constant that was written to before")
        for key, other in list(self._real.items()):
            if _memory(other) == _memory(real):
                del self._real[key]

    def _lift(self, tensor: torch.Tensor, real: torch.Tensor) -> torch.fx.Node:
        """A placeholder for a constant that was written to, with the numbers that it has now."""
        key = (id(tensor), self._rewritten[_memory(real)])
        if key not in self._lifted:
            name = f"written_{len(self._lifted)}"
            node = self._placeholder(name, tensor)
            self.stored[node.name] = Stored("", _cloned(real))
            self._lifted[key] = node
        return self._lifted[key]

    def _node_of(self, tensor: torch.Tensor) -> torch.fx.Node:
        """The node that made a tensor; a placeholder where none did."""
        real = self._real.get(id(tensor))
        if real is not None and _memory(real) in self._rewritten:
            return self._lift(tensor, real)
        found = self._nodes.get(tensor)
        if found is None:
            return self._store(tensor)
        return self._piece(tensor, *found) if isinstance(found, tuple) else found

    def _piece(self, tensor: torch.Tensor, maker: torch.fx.Node, index: int) -> torch.fx.Node:
        """The node for one of several results."""
        found = self.graph.call_function(getitem, (maker, index))
        found.meta["val"] = maker.meta["val"][index]
        found.meta["nn_module_stack"] = maker.meta["nn_module_stack"]
        if maker in self._dependent:
            self._dependent.add(found)
        self._keep(tensor, found)
        return found

    def _store(self, tensor: torch.Tensor) -> torch.fx.Node:
        """A placeholder for a tensor that the module holds, or that its code makes of numbers."""
        name = self._names.get(id(tensor))
        if name is None:
            name = self._attribute(tensor) or self._literal()
        node = self._placeholder(re.sub(r"[^a-zA-Z0-9]", "_", f"c_{name}"), tensor)
        self.stored[node.name] = Stored(name, tensor)
        return node

    def _literal(self) -> str:
        """A name for numbers in the code of the module that runs."""
        count = sum("lifted_tensor_" in stored.name for stored in self.stored.values())
        return f"{self.path}.lifted_tensor_{count}" if self.path else f"lifted_tensor_{count}"

    def _attribute(self, tensor: torch.Tensor) -> str | None:
        """The name of the attribute that holds a tensor which is neither parameter nor buffer."""
        for path, part in self._module.named_modules():
            for name, value in vars(part).items():
                if value is tensor:
                    return f"{path}.{name}" if path else name
        return None

    def _faked(self, tensor: torch.Tensor) -> torch.Tensor:
        """The tensor without values."""
        if type(tensor) is FakeTensor or self.fake is None:
            return tensor
        if id(tensor) not in self._fakes:
            with unset_fake_temporarily(), torch.inference_mode(False):
                self._fakes[id(tensor)] = numberless(self.fake, tensor)
        return self._fakes[id(tensor)]

    # The end

    def recording(self, made: Sequence[Any]) -> Recording:
        """The graph with what comes out."""
        outputs = [self._node_of(leaf) if isinstance(leaf, torch.Tensor) else None for leaf in made]
        self.graph.output(tuple(outputs))
        return Recording(self.graph, tuple(self.inputs), self.stored, self.state, tuple(self.given))


def _is_cast(node: torch.fx.Node) -> bool:
    """Whether a node hands on its first argument, which may be an input, at the same shape."""
    name = getattr(getattr(node.target, "overloadpacket", None), "__name__", "")
    return name in {"contiguous", "clone", "detach", "to", "_to_copy", "unsqueeze", "reshape"}


def _each_tensor(function: Callable[[torch.Tensor], Any], value: Any) -> Any:
    """The value with what the function makes of each tensor in it; lists stay lists."""
    if isinstance(value, torch.Tensor):
        return function(value)
    if isinstance(value, list | tuple):
        return [_each_tensor(function, part) for part in value]
    if isinstance(value, dict):
        return {key: _each_tensor(function, part) for key, part in value.items()}
    return value


def _writes(func: Any) -> bool:
    """Whether a call changes the numbers of its first argument."""
    return bool(func._schema.is_mutable) and func.overloadpacket.__name__ not in _NO_WRITES


def _memory(tensor: torch.Tensor) -> int:
    """What tells the memory of a tensor from that of others."""
    return int(tensor.untyped_storage()._cdata)


def _is_index(real: Any) -> bool:
    """Whether these are a few whole numbers, such as places along a dimension."""
    return (
        isinstance(real, torch.Tensor)
        and not real.is_floating_point()
        and not real.is_complex()
        and real.numel() <= MOST_NUMBERS
    )


def _cloned(real: torch.Tensor) -> torch.Tensor:
    """A copy, which no later call writes to."""
    with unset_fake_temporarily():
        return real.clone()


def _without_values(made: Any) -> Any:
    """Of a tensor all but its values; other things as they are."""
    if not isinstance(made, torch.Tensor) or type(made) is FakeTensor:
        return made
    return torch.empty_strided(made.shape, made.stride(), dtype=made.dtype, device="meta")


def _tensors_of(made: Any) -> Iterator[Any]:
    """The leaves of what a module returns, those in records that PyTorch does not know included."""
    for leaf in _pytree.tree_leaves(made):
        if is_dataclass(leaf) and not isinstance(leaf, type):
            for part in fields(leaf):
                yield from _tensors_of(getattr(leaf, part.name))
        else:
            yield leaf


@contextmanager
def _called(module: nn.Module, recorder: _Recorder) -> Iterator[None]:
    """While inside, the recorder knows which modules run, in this thread."""
    names: dict[int, list[str]] = {}
    for path, part in module.named_modules(remove_duplicate=False):
        names.setdefault(id(part), []).append(path)
    counts: Counter[str] = Counter()
    thread = threading.get_ident()
    open_calls: list[tuple[int, int]] = []
    taken: list[Counter[tuple[int, str]]] = [Counter()]

    def before(part: nn.Module, _: Any) -> None:
        if threading.get_ident() != thread:
            return
        open_calls.append((id(part), recorder.depth))
        around = recorder.path
        # A module without a name (a slice of a list of layers) is part of the code around it.
        known = names.get(id(part), [around])
        within = f"{around}." if around else ""
        own = [path for path in known if path.rpartition(".")[0] == around]
        near = [path for path in known if path.startswith(within)] or known
        near = own if len(own) > 1 else near[:1]
        # A module that the same code has under several names is called by one after the other.
        path = near[taken[-1][id(part), around] % len(near)]
        taken[-1][id(part), around] += 1
        taken.append(Counter())
        again = counts[path] if id(part) in names else 0
        counts[path] += id(part) in names
        recorder.enter(path, type(part), again)

    def after(part: nn.Module, *_: Any) -> None:
        if threading.get_ident() != thread:
            return
        while open_calls:
            held, depth = open_calls.pop()
            taken.pop()
            recorder.leave(depth)
            if held == id(part):
                return

    hooks = [
        register_module_forward_pre_hook(before),
        register_module_forward_hook(after, always_call=True),
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


@contextmanager
def _buffers_kept(module: nn.Module) -> Iterator[None]:
    """What a run writes into buffers is taken back."""
    before = [(buffer, buffer._version, buffer.clone()) for buffer in module.buffers()]
    try:
        yield
    finally:
        for buffer, version, values in before:
            if buffer._version != version:
                buffer.copy_(values)
