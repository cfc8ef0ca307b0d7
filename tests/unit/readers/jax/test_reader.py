"""How JAX functions and Flax modules are found, named, counted and refused."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx
from jax import lax

import atrous
from atrous.errors import ReadError, UnsupportedError
from tests.command import atrous as command
from tests.processes import run_shell

IMAGE = (1, 16, 20, 3)
NHWC = ("NHWC", "HWIO", "NHWC")
LINE = ("NHC", "HIO", "NHC")


class Block(linen.Module):
    stride: int = 1

    @linen.compact
    def __call__(self, x: Any, train: bool = True) -> Any:
        x = linen.Conv(8, (3, 3), self.stride, name="conv")(x)
        return linen.relu(linen.BatchNorm(use_running_average=not train)(x))


class Encoder(linen.Module):
    def setup(self) -> None:
        self.stem = Block(2)
        self.blocks = [Block(), Block(2)]

    def __call__(self, x: Any, train: bool = True) -> Any:
        x = self.encode(x, train)
        return x.mean((1, 2))

    def encode(self, x: Any, train: bool = False) -> Any:
        x = self.stem(x, train)
        for block in self.blocks:
            x = block(x, train)
        return x


class Stack(nnx.Module):
    def __init__(self, rngs: nnx.Rngs) -> None:
        self.convs = nnx.List([nnx.Conv(3, 3, (3, 3), strides=2, rngs=rngs) for _ in range(2)])
        self.norm = nnx.BatchNorm(3, rngs=rngs)
        self.drop = nnx.Dropout(0.5, rngs=rngs)

    def __call__(self, x: Any) -> Any:
        for conv in self.convs:
            x = nnx.relu(self.norm(conv(x)))
        return self.drop(x)


def _costly(report: atrous.Inspection) -> list[str]:
    return [layer.name for layer in report.layers if layer.params]


ENCODER = ["stem.conv", "stem.BatchNorm_0", "blocks_0.conv", "blocks_0.BatchNorm_0"]
ENCODER += ["blocks_1.conv", "blocks_1.BatchNorm_0"]


def test_layers_of_linen_are_called_as_their_modules_with_or_without_variables() -> None:
    model = Encoder()
    report = atrous.inspect(model, IMAGE)
    assert _costly(report) == ENCODER
    assert report.network.name == "Encoder"
    with jax.disable_jit():
        shapes = jax.eval_shape(
            functools.partial(model.init, train=False), jax.random.key(0), jnp.zeros(IMAGE)
        )
    variables = jax.tree_util.tree_map(lambda leaf: np.ones(leaf.shape, leaf.dtype), shapes)
    held = variables["params"]
    numbers = sum(leaf.size for leaf in jax.tree_util.tree_leaves(held))
    for source in (
        model.bind(variables),
        lambda x: model.apply(variables, x, train=False),
        functools.partial(model.apply, shapes, train=False),
        jax.jit(lambda x: model.apply(variables, x, train=False)),
        lambda x: model.apply(variables, x, method="encode").mean((1, 2)),
    ):
        other = atrous.inspect(source, IMAGE)
        assert _costly(other) == ENCODER
        assert (other.macs, other.params) == (report.macs, numbers)
        assert other.outputs[0].field == report.outputs[0].field


def test_layers_of_nnx_are_called_by_their_attributes_and_the_model_is_left_alone() -> None:
    model = nnx.eval_shape(lambda: Stack(nnx.Rngs(0)))
    report = atrous.inspect(model, IMAGE)
    assert _costly(report) == ["convs.0", "norm", "convs.1", "norm@1"]
    assert report.params == 2 * (9 * 9 + 3) + 2 * 3
    buffers = {name for name, param in report.network.params.items() if param.buffer}
    assert buffers == set() or buffers <= {"norm.mean", "norm.var"}
    assert not model.norm.use_running_average
    assert not model.drop.deterministic


def test_layers_of_functions_are_called_as_the_arrays_that_they_read() -> None:
    def forward(params: Any, x: Any) -> Any:
        with jax.named_scope("encoder"):
            x = lax.conv_general_dilated(
                x, params["stem"]["kernel"], (2, 2), "SAME", dimension_numbers=NHWC
            )
            x = jax.nn.relu(x + params["stem"]["bias"])
        return x @ params["head"]

    shapes = {
        "stem": {
            "kernel": jax.ShapeDtypeStruct((3, 3, 3, 8), jnp.float32),
            "bias": jax.ShapeDtypeStruct((8,), jnp.float32),
        },
        "head": jax.ShapeDtypeStruct((8, 2), jnp.float32),
        "unused": jax.ShapeDtypeStruct((5,), jnp.float32),
    }
    report = atrous.inspect(functools.partial(forward, shapes), IMAGE)
    assert _costly(report) == ["stem", "head"]
    assert "encoder.relu" in [layer.name for layer in report.layers]
    assert report.params == 27 * 8 + 8 + 16 + 5
    assert [param.name for param in report.network.unused_params] == ["unused"]
    arrays = jax.tree_util.tree_map(lambda leaf: np.ones(leaf.shape, leaf.dtype), shapes)
    assert _costly(atrous.inspect(lambda x: forward(arrays, x), IMAGE)) == ["stem", "head"]


def test_a_module_of_any_size_is_read_without_a_number_of_it() -> None:
    report = atrous.inspect(linen.Dense(1 << 20), (1, 1 << 20))
    assert report.params == (1 << 40) + (1 << 20)


def test_taps_that_are_0_are_holes_unless_only_the_structure_is_asked_for() -> None:
    kernel = np.ones((3, 1, 1), "float32")
    kernel[1] = 0
    model = linen.Conv(1, (3,), use_bias=False).bind({"params": {"kernel": kernel}})
    assert atrous.inspect(model, (1, 12, 1)).outputs[0].field[0].taps == 2
    assert atrous.read(model, (1, 12, 1), structure_only=True).nodes[-1].op.unread == ()
    blank = linen.Conv(1, (3,), use_bias=False).bind({"params": {"kernel": 0 * kernel}})
    report = atrous.inspect(blank, (1, 12, 1))
    assert report.outputs[0].field[0].taps == 3
    assert "not trained yet" in " ".join(report.network.notes)


def test_inputs_have_the_names_and_types_that_the_function_has() -> None:
    def both(image: Any, tokens: Any) -> Any:
        return {"seen": image[:, 1:].astype(jnp.bfloat16), "read": jnp.eye(5)[tokens]}

    tokens = jax.ShapeDtypeStruct((1, 7), jnp.int32)
    report = atrous.inspect(both, (jax.ShapeDtypeStruct(IMAGE, jnp.float32), tokens))
    assert [tensor.name for tensor in report.network.inputs] == ["image", "tokens"]
    assert report.complete
    assert len(report.outputs) == 2
    by_name = {layer.name: layer for layer in report.layers}
    assert by_name["cast"].activation_bytes == 15 * 20 * 3 * 2


def test_what_no_output_needs_is_not_there() -> None:
    def half(x: Any) -> Any:
        _ = x @ jnp.ones((3, 100))
        return x[:, 1:]

    assert atrous.inspect(half, (1, 9, 3)).macs == 0


def _scanned(body: Any, first: bool = False) -> Any:
    """A recurrence along the second dimension, from zeros or from its first step."""

    def run(x: Any) -> Any:
        start = x[:, 0] if first else jnp.zeros_like(x[:, 0])
        return lax.scan(body, start, x.swapaxes(0, 1))[1]

    return run


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (lambda x: lax.while_loop(lambda y: y.sum() < 1, lambda y: y + 1, x), "fixed length"),
        (_scanned(lambda state, step: (state + step, state + step), first=True), "input decides"),
        (_scanned(lambda state, step: (step, state)), "do not all read every step"),
        (lambda x: lax.cond(x.sum() > 0, lambda y: y[:, 1:], lambda y: y[:, :-1], x), "branch"),
        (lambda x: x[:, jnp.argmax(x[0, :, 0])], "data decides"),
        (lambda x: lax.linalg.cholesky(x @ x.swapaxes(1, 2)), "atrous.jax_ops"),
        (
            lambda x: lax.conv_general_dilated(
                x,
                x[0, :3, :, None] * jnp.ones(4),
                (1,),
                "SAME",
                dimension_numbers=("NHC", "HIO", "NHC"),
            ),
            "that the input decides",
        ),
        (
            lambda x: lax.conv_general_dilated(
                jnp.concatenate([x, x]), np.ones((4, 4, 3)), (1,), "SAME", batch_group_count=2
            ),
            "groups of the batch",
        ),
    ],
)
def test_what_is_not_followed_is_named(function: Any, said: str) -> None:
    report = atrous.inspect(function, (1, 4, 4))
    assert not report.complete
    assert any(said in reason for reason in report.opaque)


@pytest.mark.parametrize(
    ("source", "given", "said"),
    [
        (Encoder, IMAGE, "Encoder is a class; give an instance"),
        (Encoder(), None, "give the input shape"),
        (Encoder(), {"x": IMAGE}, "in order, without names"),
        (lambda x, y: x + y, IMAGE, "does not take"),
        (lambda x: x if x.sum() > 0 else -x, IMAGE, "asks for numbers"),
    ],
)
def test_what_cannot_be_read_says_why(source: Any, given: Any, said: str) -> None:
    with pytest.raises(ReadError, match=said):
        atrous.read(source, given)


class Dilated(linen.Module):
    settings: Any = ((2, 1, "SAME"), (1, 1, "SAME"), (1, 2, "SAME"))

    @linen.compact
    def __call__(self, x: Any) -> Any:
        for stride, rate, padding in self.settings:
            x = linen.Conv(2, (3,), stride, padding, kernel_dilation=rate)(x)
        return x


def test_a_conversion_says_the_settings_that_make_it_and_they_do() -> None:
    model, shape = Dilated(), (1, 33, 2)
    with pytest.raises(UnsupportedError) as found:
        atrous.convert(model, 1, input=shape)
    said = str(found.value)
    assert "Conv_0: stride (2,) -> (1,); Conv_1: dilation (1,) -> (2,)" in said
    assert "Conv_2: dilation (2,) -> (4,)" in said
    other = Dilated(((1, 1, [(1, 1)]), (1, 2, [(2, 2)]), (1, 4, [(4, 4)])))
    draw = np.random.default_rng(0)
    x = draw.standard_normal(shape).astype("float32")
    shapes = jax.eval_shape(model.init, jax.random.key(0), x)
    variables = jax.tree_util.tree_map(lambda leaf: draw.standard_normal(leaf.shape), shapes)
    coarse, dense = jax.jit(lambda: [one.apply(variables, x) for one in (model, other)])()
    assert np.allclose(dense[:, ::2], coarse, atol=1e-5)


def test_a_conversion_that_is_not_exact_is_refused_with_the_layer() -> None:
    class Decoder(linen.Module):
        @linen.compact
        def __call__(self, x: Any) -> Any:
            x = linen.Conv(2, (3,), 2)(x)
            return linen.ConvTranspose(2, (4,), (2,), name="up")(x)

    with pytest.raises(atrous.AtrousError, match="up"):
        atrous.convert(Decoder(), 1, input=(1, 32, 2))


def test_an_audit_says_what_to_do() -> None:
    with pytest.raises(ReadError, match="not audited"):
        atrous.audit(Dilated(), Dilated(), input=(1, 32, 2))


def test_a_function_in_a_file_is_itself_the_source_and_one_without_arguments_makes_it(
    tmp_path: Any,
) -> None:
    (tmp_path / "nets.py").write_text(
        "import jax\n"
        "def difference(line):\n    return line[:, 1:] - line[:, :-1]\n"
        "@jax.jit\ndef quick(line):\n    return difference(line)\n"
        "def made():\n    return difference, (1, 8, 2)\n"
    )
    for arguments in (
        ("nets.py:difference", "--input", "1,8,2"),
        ("nets.py:quick", "--input", "1,8,2"),
        ("nets.py:made",),
    ):
        result = command("inspect", *arguments, cwd=tmp_path)
        assert result.returncode == 0, result.stderr
        assert "receptive field  2 (t)" in result.stdout
    refused = command("inspect", "nets.py:difference", cwd=tmp_path)
    assert "give the input shape" in refused.stderr


def test_code_that_imports_jax_by_its_own_modules_is_jax_code_too(tmp_path: Any) -> None:
    (tmp_path / "parts.py").write_text(
        "import jax\ndef difference(line):\n    return line[:, 1:] - line[:, :-1]\n"
    )
    (tmp_path / "twice.py").write_text(
        "from parts import difference\ndef twice(line):\n    return difference(difference(line))\n"
    )
    done = run_shell("atrous inspect twice.py:twice --input 1,8,2", cwd=tmp_path)
    assert done.returncode == 0, done.stdout
    assert "receptive field  3 (t)" in done.stdout
