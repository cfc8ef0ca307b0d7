"""JAX functions into networks, by their jaxpr; nothing is computed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import jax
from jax.extend import core

from atrous.errors import AtrousError, ReadError
from atrous.network import Builder, Network, Param, Tensor
from atrous.network.ops import Constant
from atrous.readers.call import Output, network_of, params_behind
from atrous.readers.given import examples_of, shapes_of
from atrous.readers.jax import arrays, elements, loops, picks, products, windows
from atrous.readers.jax.call import BROADCASTING, JaxCall, Wide, elementwise, primitive_translation
from atrous.readers.jax.elements import only_elements
from atrous.readers.jax.names import jax_layer, short, spelled
from atrous.readers.jax.numbers import computed, inner, stored, written
from atrous.readers.jax.opened import Opened, Stored, bytes_each, opened, place_of
from atrous.readers.placed import Held, Placed

__all__ = ["read_jax"]

_REGISTERED = (arrays, elements, loops, picks, products, windows)


def read_jax(source: Any, input: Any = None, *, weights: bool = False) -> Network:
    """The network of a JAX function, a Flax module or another callable, at inference.

    `input` has the shapes as the function counts them, channels last where it has them so. Maps are
    listed with their channels before their positions, as those of every source. Arrays of floating
    numbers that the source holds are its parameters; running statistics are buffers. Nothing is
    computed and no array is made: of what a source holds the shapes are traced. Raises `ReadError`
    for a source that does not take the input.
    """
    name = getattr(source, "__name__", type(source).__name__)
    if input is None:
        raise ReadError(
            f"{name}: a function does not say what it takes; give the input shape as it counts "
            "dimensions, such as (1, 224, 224, 3)."
        )
    if isinstance(input, Mapping):
        raise ReadError(f"{name}: give the shapes of its inputs in order, without names.")
    shapes = shapes_of(input)
    structs = [
        jax.ShapeDtypeStruct(shape, jax.numpy.float32 if given is None else _type_of_example(given))
        for shape, given in zip(shapes, examples_of(input), strict=True)
    ]
    found, traced = _traced(source, structs)
    walk = _JaxprReader(found, traced, weights)
    names = _input_names(found.takes, len(structs))
    network = network_of(
        found.name,
        dict(zip(names, shapes, strict=True)),
        dict(zip(names, map(bytes_each, structs), strict=True)),
        walk.translate,
    )
    return _needed(network)


def _needed(network: Network) -> Network:
    """The network without what no output depends on: XLA does not compute it either."""
    needed = set(network.outputs)
    kept = []
    for node in reversed(network.nodes):
        if node.output.name in needed:
            needed.update(node.inputs)
            kept.append(node)
    return replace(network, nodes=tuple(reversed(kept)))


def _type_of_example(example: Any) -> Any:
    return jax.dtypes.canonicalize_dtype(jax.numpy.dtype(str(example.dtype).rpartition(".")[2]))


def _input_names(takes: Sequence[str], count: int) -> list[str]:
    if len(takes) >= count and len(set(takes)) == len(takes):
        return list(takes[:count])
    return ["x"] if count == 1 else [f"x{index + 1}" for index in range(count)]


def _traced(source: Any, structs: Sequence[Any]) -> tuple[Opened, Any]:
    """The source as a function, and the jaxpr of its call on inputs of these shapes."""
    try:
        found = opened(source, structs)
        held = jax.tree_util.tree_map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), found.held
        )
        return found, jax.make_jaxpr(found.function)(held, *structs)
    except AtrousError:
        raise
    except Exception as error:
        name = getattr(source, "__name__", type(source).__name__)
        shapes = ", ".join(str(tuple(struct.shape)) for struct in structs)
        text = " ".join(str(error).split()) or type(error).__name__
        raise ReadError(
            f"{name}: does not take {shapes}, or its code asks for numbers: {text[:240]}; give a "
            "shape that it takes, or a function of arrays, such as "
            "lambda x: module.apply(variables, x, train=False)."
        ) from error


class _JaxprReader:
    """One jaxpr, ready to be translated any number of times."""

    def __init__(self, found: Opened, traced: Any, weights: bool) -> None:
        self.found, self.traced, self.weights = found, traced, weights
        self.params: dict[str, Param] = {}
        self.taken: dict[int, Held] = {}
        self.leaves = [self._held(leaf) for leaf in found.leaves]
        self.consts = [self._const(const) for const in traced.consts]

    def translate(self, builder: Builder, inputs: Mapping[str, Tensor]) -> list[Tensor]:
        """Every equation as ops of the builder; the tensors that are the outputs."""
        given: list[Any] = [Placed.plain(tensor) for tensor in inputs.values()]
        for tensor in builder.inputs:
            if len(tensor.shape) > 2:
                builder.channels_at(tensor, len(tensor.shape) - 1, usually=True)
        made = self._run(builder, self.traced.jaxpr, self.consts, [*self.leaves, *given], ())
        builder.own(param for param in self.params.values() if not param.buffer)
        outputs = []
        for index, value in enumerate(made):
            if isinstance(value, Wide):
                value = _widened_output(builder, value, index)
            if isinstance(value, Placed):
                outputs.append(value.tensor)
            else:
                outputs.append(builder.add(Constant(value.shape), name=f"output{index}"))
        return outputs if any(isinstance(value, Placed) for value in made) else []

    def _held(self, leaf: Stored) -> Held:
        """An array that the source holds, and its parameter under a name of its own."""
        key = place_of(leaf.value)
        if key in self.taken and not isinstance(leaf.value, jax.ShapeDtypeStruct):
            return self.taken[key]
        params: tuple[Param, ...] = ()
        if leaf.param is not None:
            params = (self._own(leaf.param),)
        plain = leaf.param is None or leaf.param.buffer
        self.taken[key] = stored(leaf.value, params, self.weights or plain)
        return self.taken[key]

    def _own(self, param: Param) -> Param:
        name, count = param.name, 1
        while name in self.params:
            count += 1
            name = f"{param.name}@{count}"
        made = Param(name, param.count, param.itemsize, param.trainable, param.buffer)
        self.params[name] = made
        return made

    def _const(self, const: Any) -> Held:
        """An array that the function reads from around it."""
        value, place = getattr(const, "val", const), place_of(const)
        if place in self.taken:
            return self.taken[place]
        known = self.found.found.get(place)
        if known is None and isinstance(value, jax.Array):
            floating = jax.numpy.issubdtype(value.dtype, jax.numpy.inexact)
            if floating and value.ndim:
                known = Stored(value, Param("constant", int(value.size), bytes_each(value)))
        return self._held(known or Stored(value, None))

    def _run(
        self,
        builder: Builder,
        jaxpr: Any,
        consts: Sequence[Any],
        given: Sequence[Any],
        scope: tuple[str, ...],
    ) -> list[Any]:
        """The values that a jaxpr makes of values."""
        known: dict[Any, Any] = dict(zip(jaxpr.constvars, consts, strict=True))
        known.update(zip(jaxpr.invars, given, strict=True))

        def value(atom: Any) -> Any:
            return written(atom.val) if isinstance(atom, core.Literal) else known[atom]

        for equation in jaxpr.eqns:
            made = self._equation(builder, equation, list(map(value, equation.invars)), scope)
            known.update(zip(equation.outvars, made, strict=True))
        return [value(atom) for atom in jaxpr.outvars]

    def _equation(
        self,
        builder: Builder,
        equation: Any,
        given: list[Any],
        scope: tuple[str, ...],
    ) -> list[Any]:
        empty = all(0 in out.aval.shape for out in equation.outvars)
        if empty or not any(isinstance(value, Placed) for value in given):
            return list(computed(equation, given))
        path = (*scope, *spelled(equation, self.found.scope, outermost=not scope))
        called = inner(equation)
        call = self._call(builder, equation, given, path)
        if called is None:
            translation = primitive_translation(call.op)
            if translation is None:
                made = call.opaque(
                    "is a primitive that is in no table; compute this part by others, or register "
                    "a translation under the entry point atrous.jax_ops"
                )
            else:
                made = call.translated(translation)
            several = list(made) if call.several else [made]
            # What is not understood has the dimensions that JAX sees.
            return [Placed.plain(one) if isinstance(one, Tensor) else one for one in several]
        jaxpr, consts = called
        depends = [isinstance(value, Placed) for value in given]
        label = short(equation.params.get("name") or "")
        shape = tuple(equation.outvars[0].aval.shape)
        if label and only_elements(jaxpr, depends, shape):
            call.name = jax_layer(label, path, ())[0]
            made = call.translated(lambda call: elementwise(call, label))
            return [Placed.plain(made) if isinstance(made, Tensor) else made]
        inside = path if label in ("", short(self.found.name)) else (*path, f"{label}()")
        held = [self._const(const) for const in consts]
        return self._run(builder, jaxpr, held, given, inside)

    def _call(
        self, builder: Builder, equation: Any, given: list[Any], path: tuple[str, ...]
    ) -> JaxCall:
        op = equation.primitive.name
        params = params_behind(given)
        name, module = jax_layer(op, path, [param.name for param in params])
        call = JaxCall(
            builder,
            op,
            dict(enumerate(given)),
            [
                Output(
                    tuple(out.aval.shape),
                    bytes_each(out.aval),
                    not isinstance(out, core.DropVar),
                )
                for out in equation.outvars
            ],
            name,
            module,
            op,
            several=equation.primitive.multiple_results,
            settings=equation.params,
            within=path,
            inline=lambda closed, values: self._run(
                builder, closed.jaxpr, list(map(self._const, closed.consts)), values, path
            ),
        )
        if op not in BROADCASTING and inner(equation) is None:
            call.arguments = {key: call.settled(value) for key, value in call.arguments.items()}
        return call


def _widened_output(builder: Builder, value: Wide, index: int) -> Placed:
    call = JaxCall(builder, "broadcast", {}, [], f"output{index}", "")
    made = call.settled(value)
    assert isinstance(made, Placed)
    return made
