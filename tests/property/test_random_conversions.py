"""Random models converted and audited: every verdict against runs that the test makes itself."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import atrous
from atrous.certification.certificate import Certificate, OutputCertificate
from atrous.certification.conversion import Conversion
from atrous.refusal import ConversionError
from tests.property.drawn_models import Drawn, drawn_model, runs, with_random_weights

Model = nn.Module


@dataclass(frozen=True)
class Alike:
    """Which positions of a map hold the same in two runs; `places` are those compared, by axis."""

    same: Any
    places: tuple[range, ...]
    sizes: tuple[int, ...]

    @property
    def everywhere(self) -> bool:
        """Whether all do."""
        return bool(self.same.all())

    def part(self, wanted: Sequence[tuple[int, int]]) -> Any:
        """What is inside the given bounds, in positions of the reference."""
        keep = [
            [i for i, place in enumerate(places) if low <= place < high]
            for places, (low, high) in zip(self.places, wanted, strict=True)
        ]
        return self.same[np.ix_(*keep)]

    def inside(self, margin: Sequence[tuple[int, int]]) -> Any:
        """What is left without a margin at both ends."""
        return self.part([(lo, n - hi) for (lo, hi), n in zip(margin, self.sizes, strict=True)])

    def ends(self, margin: Sequence[tuple[int, int]]) -> Iterator[Any]:
        """Each end of each axis that a margin leaves out."""
        whole = [(0, size) for size in self.sizes]
        for axis, ((lo, hi), size) in enumerate(zip(margin, self.sizes, strict=True)):
            for end in ((0, lo), (size - hi, size)):
                found = self.part([*whole[:axis], end, *whole[axis + 1 :]])
                if found.size:
                    yield found


def compared(
    one: torch.Tensor, two: torch.Tensor, factor: Sequence[Fraction], phase: Sequence[int]
) -> Alike:
    """At which positions of `one` the map `two` holds the same values, up to rounding.

    Position `phase + factor * i` of `two` is `i` of `one`; along an axis whose factor is below 1,
    `i` of `two` is `phase + i / factor` of `one`, and the others are not compared. What `two` lacks
    at its ends is not the same.
    """
    scale = float(one[one.isfinite()].abs().max()) or 1.0
    places, wanted, left = [], one, two
    present = np.ones((1,) * len(factor), bool)
    for dim, (size, f, p) in enumerate(zip(one.shape[2:], factor, phase, strict=True), 2):
        assert 1 in (f.numerator, f.denominator)
        missed = 0 if f >= 1 else max(-(p // f.denominator), 0)
        here = range(size) if f >= 1 else range(p + missed * f.denominator, size, f.denominator)
        there = [f.numerator * i + (p if f >= 1 else missed) for i in range(len(here))]
        held = [0 <= place < two.shape[dim] for place in there]
        places.append(here)
        present = present & np.expand_dims(
            np.array(held), tuple(d - 2 for d in range(2, one.dim()) if d != dim)
        )
        wanted = wanted.index_select(dim, torch.tensor(here))
        # Where the other has no such position, any one stands in for it.
        reachable = [place if ok else 0 for place, ok in zip(there, held, strict=True)]
        left = left.index_select(dim, torch.tensor(reachable))
    # A maximum over padding alone is -inf on both sides.
    error = (left - wanted).abs().masked_fill(left == wanted, 0).amax(dim=(0, 1))
    alike = (error <= 1e-12 * scale).numpy() & present
    return Alike(alike, tuple(places), tuple(one.shape[2:]))


def assert_verdict(
    reference: Model,
    candidate: Model,
    shapes: Sequence[Sequence[int]],
    found: OutputCertificate,
    *,
    tight: bool,
) -> None:
    """What a certificate says of its one output is what runs at each of the shapes show.

    The first shape is the one that was asked for, the second the one beside it. Margins are `tight`
    where nothing takes a maximum, which may be the same of other positions.
    """
    made = [(runs(reference, shape), runs(candidate, shape)) for shape in shapes]
    zero = (0,) * len(found.factor)
    assert tuple(made[0][0].shape) == found.shape_before
    assert tuple(made[0][1].shape) == found.shape_after
    if found.verdict == "exact":
        assert found.phase == zero
        assert not any(map(any, found.margin))
        for shape, both in zip(shapes, made, strict=True):
            assert compared(*both, found.factor, zero).everywhere, f"exact, and not at {shape}"
        return
    # The size that margin and phase tell of is the first one that is no better.
    sizes = [tuple(shape[2:]) for shape in shapes[:2]]
    told = next(check.sizes for check in found.checks if check.proved == found.verdict)
    if told in sizes:
        one, two = made[sizes.index(told)]
    else:
        # The certificate chose a size of its own, at which maps are odd where they were even.
        own = (*shapes[0][:2], *told)
        one, two = runs(reference, own), runs(candidate, own)
    if any(1 not in (f.numerator, f.denominator) for f in found.factor):
        assert found.verdict in ("approximate", "broken")
        return  # no phase leads from one map to the other
    alike = compared(one, two, found.factor, found.phase)
    if found.verdict in ("interior", "shifted"):
        assert any(found.phase) == (found.verdict == "shifted")
        if any(f < 1 and p for f, p in zip(found.factor, found.phase, strict=True)):
            # Where strides came back, a phase says that they begin elsewhere.
            starts = (
                [p] if f >= 1 else range(1 - f.denominator, f.denominator)
                for f, p in zip(found.factor, found.phase, strict=True)
            )
            every = [compared(one, two, found.factor, phase) for phase in product(*starts)]
            alike = next(a for a in every if a.inside(found.margin).all())
        assert alike.inside(found.margin).size
        assert alike.inside(found.margin).all(), "it differs beyond its margin"
        if tight:
            for end in alike.ends(found.margin):
                assert not end.all(), f"equal inside the margin {found.margin}"
            assert not compared(one, two, found.factor, zero).everywhere, "equal in place"
        return
    for phase in product(*(range(max(f.numerator, f.denominator)) for f in found.factor)):
        alike = compared(one, two, found.factor, phase)
        middle = alike.inside([(n // 4, n // 4) for n in alike.sizes])
        assert not middle.size or not middle.all(), f"{found.verdict}, but equal at {phase}"


def assert_certified(
    reference: Model,
    candidate: Model,
    drawn: Drawn,
    found: Certificate,
    *,
    conversion: bool = True,
) -> None:
    """Both halves of a certificate say the same, and a third run agrees."""
    one, two = copy.deepcopy(reference), copy.deepcopy(candidate)
    with_random_weights([one, two])
    assert found.agrees, [str(cause) for cause in found.causes]
    (output,) = found.outputs
    # Of conversions it is asked at sizes that nobody looked at; not where strides come back, whose
    # padding is the one that fits.
    sizes = 4 if conversion and all(factor >= 1 for factor in output.factor) else 2
    tight = not any("pool" in line for line in drawn.said)
    assert_verdict(one, two, [drawn.at(more) for more in range(sizes)], output, tight=tight)
    assert (not found.causes) == (found.verdict == "exact"), f"{found.verdict}, no cause"


def attributes(model: Model) -> dict[str, Any]:
    """What says what every module does, by name; hooks by what they print."""
    found: dict[str, Any] = {}
    for name, module in model.named_modules():
        for key, value in vars(module).items():
            if key.startswith("_forward_pre_hooks") and not isinstance(value, bool):
                found[f"{name}.{key}"] = [str(hook) for hook in value.values()]
            elif key == "_reversed_padding_repeated_twice":
                found[f"{name}.{key}"] = list(value)
            elif not key.startswith("_"):
                found[f"{name}.{key}"] = str(value)
        traced = isinstance(module, torch.fx.GraphModule)
        found[f"{name}:class"] = "traced" if traced else type(module).__name__
    return found


def state(model: Model) -> dict[str, torch.Tensor]:
    """The state dict, copied."""
    return {key: value.clone() for key, value in model.state_dict().items()}


def assert_same_state(model: Model, before: dict[str, torch.Tensor]) -> None:
    """The same keys, in order, with the same values."""
    after = model.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[key], value) for key, value in before.items())


def assert_same_tree(one: Model, two: Model) -> None:
    """Modules with state are where they were; classes are kept but for what an edit names."""
    here = {name for name, module in one.named_modules() if list(module.parameters())}
    there = {name for name, module in two.named_modules() if list(module.parameters())}
    assert here == there
    assert {m.training for m in two.modules()} == {m.training for m in one.modules()}


def assert_says_what_is_wrong(error: ConversionError, model: Model) -> None:
    """A refusal is a sentence, about a layer if it is about one."""
    assert error.refusal is not None
    assert len(error.refusal.reason) > 20
    assert str(error).endswith((".", ")", "'")) or error.refusal.rule == "code", str(error)


def converted(drawn: Drawn, model: Model, stride: int) -> Conversion | None:
    """The conversion, or None where it is refused with a reason; the source is left alone."""
    before, held = state(model), attributes(model)
    try:
        done = atrous.convert(model, stride, input=drawn.shape)
    except ConversionError as error:
        done = None
        assert_says_what_is_wrong(error, model)
    assert_same_state(model, before)
    assert attributes(model) == held
    if done is not None:
        assert_same_state(done.model, before)
        assert_same_tree(model, done.model)
    return done


def assert_all_of_a_conversion(drawn: Drawn, stride: int) -> Conversion | None:
    """A conversion to a finer stride, what is certified of it, a second one, and the way back."""
    done = converted(drawn, drawn.model, stride)
    if done is None:
        return None
    assert_certified(drawn.model, done.model, drawn, done.certificate)
    if not drawn.resized:
        factor = Fraction(drawn.stride, stride)
        assert done.certificate.outputs[0].factor == (factor,) * (len(drawn.shape) - 2)
    again = converted(drawn, done.model, stride)
    assert again is not None
    assert not again.edits
    assert again.direction == "none"
    assert attributes(again.model) == attributes(done.model)
    back = converted(drawn, done.model, drawn.stride)
    if back is not None:
        assert_certified(done.model, back.model, drawn, back.certificate)
    return done


def assert_strides_and_back(drawn: Drawn) -> Conversion | None:
    """Rates traded for strides, and back: the attributes that the model had."""
    for stride in (4, 3, 2):
        done = converted(drawn, drawn.model, stride)
        if done is not None and done.edits:
            break
    else:
        return None
    assert_certified(drawn.model, done.model, drawn, done.certificate)
    back = converted(drawn, done.model, 1)
    assert back is not None
    assert_certified(done.model, back.model, drawn, back.certificate)
    one, two = attributes(drawn.model), attributes(back.model)
    for name, module in drawn.model.named_modules():
        if all(kernel == 1 for kernel in getattr(module, "kernel_size", (0,))):
            del one[f"{name}.dilation"], two[f"{name}.dilation"]  # of a single tap it says nothing
    assert one == two
    return done


def finer(drawn: Drawn) -> list[int]:
    """The output strides that divide the model's."""
    return [s for s in range(1, drawn.stride) if drawn.stride % s == 0]


def altered(model: Model, rng: random.Random) -> str:
    """One layer of a model made wrong; says how."""
    layers = [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, nn.modules.conv._ConvNd | nn.modules.pooling._MaxPoolNd)
        and not getattr(module, "transposed", False)
        and isinstance(module.padding, int | tuple)
    ]
    if not layers:
        return ""
    name, layer = rng.choice(layers)
    what = rng.choice(["dilation", "padding", "stride", "shift"])
    layer_: Any = layer
    rank = 1 if isinstance(layer_.stride, int) else len(layer_.stride)

    def spread(value: Any) -> tuple[int, ...]:
        return tuple(value) if isinstance(value, tuple) else (value,) * rank

    if what == "dilation":
        kernel = spread(layer_.kernel_size)
        old, new = spread(layer_.dilation), tuple(d + 1 for d in spread(layer_.dilation))
        layer_.dilation = new
        if getattr(layer_, "padding_mode", "zeros") == "zeros" and rng.random() < 0.7:
            # As by hand: the size is kept.
            layer_.padding = tuple(
                p + (k - 1) * (b - a) // 2
                for p, k, a, b in zip(spread(layer_.padding), kernel, old, new, strict=True)
            )
    elif what == "padding":
        layer_.padding = tuple(p + 1 for p in spread(layer_.padding))
        if hasattr(layer_, "_reversed_padding_repeated_twice"):
            layer_._reversed_padding_repeated_twice = [
                p for p in reversed(layer_.padding) for _ in range(2)
            ]
    elif what == "stride":
        layer_.stride = tuple(s + 1 for s in spread(layer_.stride))
    else:
        move = rng.choice([-1, 1])
        flat = [move, -move] * (len(layer_.kernel_size) if rank > 1 else 1)
        layer_.register_forward_pre_hook(
            lambda _module, args: (nn.functional.pad(args[0], flat), *args[1:])
        )
    return f"{name}: {what}"


def assert_audit_of_a_wrong_conversion(drawn: Drawn, stride: int, seed: int) -> str:
    """An audit of a conversion with one layer altered says what runs say."""
    try:
        done = atrous.convert(drawn.model, stride, input=drawn.shape, measure=False)
    except ConversionError:
        return ""
    wrong = copy.deepcopy(done.model)
    how = altered(wrong, random.Random(seed))
    if not how:
        return ""
    try:
        for more in range(2):
            runs(wrong, drawn.at(more))
    except (RuntimeError, ValueError, IndexError):
        return f"{how}, does not run"
    found = atrous.audit(drawn.model, wrong, input=drawn.shape)
    assert_certified(drawn.model, wrong, drawn, found, conversion=False)
    return f"{how}, {found.verdict}"


@pytest.mark.parametrize("seed", range(10))
def test_conversions_of_random_models_are_what_their_certificates_say(seed: int) -> None:
    drawn = drawn_model(seed)
    assert assert_all_of_a_conversion(drawn, random.Random(seed).choice(finer(drawn))) is not None


@pytest.mark.parametrize(("seed", "rank"), [(0, 2), (1, 2), (2, 2), (3, 3), (4, 3), (5, 2)])
def test_conversions_of_maps_and_volumes_are_what_their_certificates_say(
    seed: int, rank: int
) -> None:
    drawn = drawn_model(seed, rank)
    done = assert_all_of_a_conversion(drawn, random.Random(seed).choice(finer(drawn)))
    assert (done is None) == (seed == 0)  # its strides jump over the one that is asked for


@pytest.mark.parametrize("seed", range(4))
def test_conversions_of_odd_kernels_with_even_padding_are_exact(seed: int) -> None:
    drawn = drawn_model(seed, plain=True)
    done = assert_all_of_a_conversion(drawn, finer(drawn)[0])
    assert done is not None
    assert done.certificate.verdict == "exact"


@pytest.mark.parametrize("seed", range(6))
def test_rates_traded_for_strides_come_back_to_the_attributes_that_they_were(seed: int) -> None:
    done = assert_strides_and_back(drawn_model(seed, plain=True, rates=True))
    assert (done is None) == (seed in (0, 1, 4))  # windows of rate 1 have nothing to trade


@pytest.mark.parametrize("seed", range(12))
def test_audits_of_wrong_conversions_of_random_models_say_what_runs_show(seed: int) -> None:
    drawn = drawn_model(100 + seed)
    stride = random.Random(seed).choice(finer(drawn))
    said = assert_audit_of_a_wrong_conversion(drawn, stride, seed)
    assert (said == "") == (seed == 9)  # its strides jump over the one that is asked for
    assert ("does not run" in said) == (seed == 3)


def test_a_wrong_model_is_told_from_a_right_one() -> None:
    drawn = drawn_model(0, plain=True)
    dense = atrous.convert(drawn.model, finer(drawn)[0], input=drawn.shape)
    (found,) = dense.certificate.outputs
    assert_verdict(drawn.model, dense.model, [drawn.shape], found, tight=True)
    wrong = copy.deepcopy(dense.model)
    for value in wrong.parameters():
        value.data += 1
    with pytest.raises(AssertionError, match="exact, and not at"):
        assert_verdict(drawn.model, wrong, [drawn.shape], found, tight=True)
