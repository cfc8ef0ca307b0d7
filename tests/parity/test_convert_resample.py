"""Decoders behind a converted encoder: joins that no longer fit are resampled where asked."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn
from torch.nn import functional

import atrous
from atrous import ConversionError
from atrous.certification.proof import prove
from atrous.conversion.request import ConversionRequest, plan_for
from atrous.network import Builder
from atrous.network.folded_pads import folded
from atrous.network.ops import Resize
from atrous.readers.torch.reader import read_torch

CONVS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
POOLS = {1: functional.max_pool1d, 2: functional.max_pool2d, 3: functional.max_pool3d}


class Encoder(nn.Module):
    """Three maps, at stride 2, 4 and 8."""

    def __init__(self, rank: int = 2) -> None:
        super().__init__()
        conv = CONVS[rank]
        self.one = nn.Sequential(conv(3, 4, 3, 2, 1), nn.Tanh())
        self.two = nn.Sequential(conv(4, 4, 3, 2, 1), nn.Tanh())
        self.three = nn.Sequential(conv(4, 4, 3, 2, 1), nn.Tanh())

    def forward(self, x):
        one = self.one(x)
        two = self.two(one)
        return one, two, self.three(two)


class Pyramid(nn.Module):
    """A feature pyramid whose joins are sums."""

    def __init__(self, rank: int = 2, join: Callable = torch.add) -> None:
        super().__init__()
        self.encoder = Encoder(rank)
        self.up = nn.Upsample(scale_factor=2)
        self.lateral = CONVS[rank](4, 4, 1)
        self.smooth = CONVS[rank](4, 4, 3, padding=1)
        self.join = join

    def forward(self, x):
        one, two, three = self.encoder(x)
        x = self.join(self.up(three), self.lateral(two))
        x = functional.interpolate(x, scale_factor=2)
        return self.smooth(self.join(x, one))


class Decoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(8, 4, 3, padding=1)
        self.second = nn.Conv2d(8, 4, 3, padding=1)

    def forward(self, one, two, three):
        x = functional.interpolate(three, scale_factor=2.0, mode="bilinear")
        x = torch.relu(self.first(torch.cat([two, x], dim=1)))
        x = functional.interpolate(x, scale_factor=2.0, mode="bilinear")
        return self.second(torch.cat((one, x), 1))


class UNet(nn.Module):
    """The decoder is a module, or written in the code that pools as well."""

    def __init__(self, *, inside: bool, rank: int = 2) -> None:
        super().__init__()
        conv = CONVS[rank]
        self.rank = rank
        self.one = conv(3, 4, 3, padding=1)
        self.two = conv(4, 4, 3, padding=1)
        self.three = conv(4, 4, 3, padding=1)
        if inside:
            self.decoder = Decoder()
        else:
            self.first = conv(8, 4, 3, padding=1)
            self.second = conv(8, 4, 3, padding=1)
        self.inside = inside

    def forward(self, x):
        one = torch.tanh(self.one(x))
        two = torch.tanh(self.two(POOLS[self.rank](one, 2)))
        three = torch.tanh(self.three(POOLS[self.rank](two, 2)))
        if self.inside:
            return self.decoder(one, two, three)
        x = functional.interpolate(three, scale_factor=2)
        x = torch.tanh(self.first(torch.cat([x, two], dim=1)))
        # A size that is asked of the other map follows it by itself.
        x = functional.interpolate(x, size=one.shape[2:])
        return self.second(torch.cat([x, one], dim=1))


class Block(nn.Module):
    """Joins three times, twice with what has the other size."""

    def forward(self, x, skip):
        x = x * torch.sigmoid(skip)
        y = torch.tanh(x)
        y.add_(skip)
        return y + x


class Blocks(nn.Module):
    """One block that runs at two sizes."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = Encoder()
        self.block = Block()
        self.up = nn.Upsample(scale_factor=2, mode="bilinear")

    def forward(self, x):
        one, two, three = self.encoder(x)
        x = self.block(self.up(three), two)
        return self.block(self.up(x), one)


class Wrapped(nn.Module):
    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x):
        return self.net(x)


def _add(x, y):
    return x + y


def _iadd(x, y):
    x += y
    return x


def _add_in_place(x, y):
    x.add_(y)
    return torch.tanh(x)


def _add_and_squash(x, y):
    return torch.tanh(x + y)


NETS: dict[str, tuple[Callable[[], nn.Module], int, int]] = {
    "pyramid": (Pyramid, 2, 2),
    "pyramid with methods": (lambda: Pyramid(join=lambda x, y: y.mul(x)), 2, 2),
    "pyramid in place": (lambda: Pyramid(join=_iadd), 2, 4),
    "pyramid of keywords": (lambda: Pyramid(join=lambda x, y: torch.sub(other=x, input=y)), 2, 4),
    "1-D pyramid": (lambda: Pyramid(1), 1, 2),
    "U-Net": (lambda: UNet(inside=False), 2, 1),
    "1-D U-Net": (lambda: UNet(inside=False, rank=1), 1, 2),
    "3-D U-Net": (lambda: UNet(inside=False, rank=3), 3, 2),
    "U-Net with a decoder": (lambda: UNet(inside=True), 2, 1),
    "U-Net in a module": (lambda: Wrapped(UNet(inside=False)), 2, 2),
    "one block at two sizes": (Blocks, 2, 2),
}


def made(build: Callable[[], nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    return build().double().eval()


def ran(model: nn.Module, rank: int, size: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(size)
    with torch.no_grad():
        return model(torch.randn(2, 3, *[size] * rank, generator=generator, dtype=torch.double))


def assert_is_the_planned_one(model: nn.Module, done: nn.Module, stride: int, shape) -> None:
    """Read again, the converted model is the candidate of the plan, output by output."""
    network = folded(read_torch(model, shape))
    plan = plan_for(network, ConversionRequest(stride, None, "scale", "crop", False, True))
    after = folded(read_torch(done, shape))
    outputs = list(zip(plan.candidate.outputs, after.outputs, strict=True))
    proofs, _ = prove(plan.candidate, after, outputs)
    assert [(p.verdict, *map(str, p.causes)) for p in proofs] == [("exact",)] * len(outputs)
    for one, two in outputs:
        assert plan.candidate.tensor(one).shape == after.tensor(two).shape


@pytest.mark.parametrize("name", NETS)
def test_a_decoder_is_resampled_at_its_joins(name):
    build, rank, stride = NETS[name]
    model = made(build)
    shape = (1, 3, *[16 if rank == 3 else 32] * rank)
    kept = copy.deepcopy(model.state_dict())
    with pytest.raises(ConversionError, match="its inputs no longer fit"):
        atrous.convert(model, stride, input=shape)
    done = atrous.convert(model, stride, input=shape, resample=True)
    assert done.certificate.verdict == "approximate"
    assert done.certificate.agrees
    assert any("it joins a map that is resampled" in c.why for c in done.certificate.causes)
    assert [e for e in done.edits if e.attribute == "resample"]
    assert list(done.model.state_dict()) == list(kept)
    assert_is_the_planned_one(model, done.model, stride, shape)
    for size in (16, 24, 40):
        one, two = ran(model, rank, size), ran(done.model, rank, size)
        assert one.shape[:2] == two.shape[:2]
        grown = {b // a for a, b in zip(one.shape[2:], two.shape[2:], strict=True)}
        assert grown == {int(f) for f in done.certificate.outputs[0].factor}
        assert torch.isfinite(two).all()
    # The original is as it was.
    assert all(torch.equal(kept[key], value) for key, value in model.state_dict().items())


def test_what_a_resampled_join_computes_is_what_is_said():
    model = made(Pyramid)
    done = atrous.convert(model, 2, input=(1, 3, 32, 32), resample=True).model
    x = torch.randn(1, 3, 40, 40, dtype=torch.double)
    with torch.no_grad():
        one, two, three = done.encoder(x)
        assert one.shape == two.shape == three.shape
        up = functional.interpolate(three, scale_factor=2)
        up = functional.interpolate(up, size=two.shape[2:], mode="bilinear", align_corners=False)
        up = functional.interpolate(up + done.lateral(two), scale_factor=2)
        up = functional.interpolate(up, size=one.shape[2:], mode="bilinear", align_corners=False)
        assert torch.equal(done(x), done.smooth(up + one))


@pytest.mark.parametrize(
    ("in_place", "plain"), [(_iadd, _add), (_add_in_place, _add_and_squash)], ids=["+=", "add_"]
)
def test_a_join_in_place_computes_what_a_plain_one_does(in_place, plain):
    one, two = made(lambda: Pyramid(join=in_place)), made(lambda: Pyramid(join=plain))
    both = [
        atrous.convert(m, 2, input=(1, 3, 32, 32), resample=True, measure=False).model
        for m in (one, two)
    ]
    for size in (32, 48):
        assert torch.equal(ran(one, 2, size), ran(two, 2, size))
        assert torch.equal(ran(both[0], 2, size), ran(both[1], 2, size))


def test_a_join_in_place_on_the_map_that_sets_the_size_stays_in_place():
    model = made(lambda: Pyramid(join=lambda x, y: y.add_(x)))
    done = atrous.convert(model, 2, input=(1, 3, 32, 32), resample=True)
    assert done.certificate.agrees
    assert "add_(" in done.model.code
    plain = made(lambda: Pyramid(join=lambda x, y: y + x))
    other = atrous.convert(plain, 2, input=(1, 3, 32, 32), resample=True)
    assert torch.equal(ran(done.model, 2, 32), ran(other.model, 2, 32))


@pytest.mark.parametrize("name", ["pyramid", "U-Net", "U-Net with a decoder"])
def test_a_resampled_model_trains_and_is_copied_and_pickled(name):
    build, rank, stride = NETS[name]
    model = made(build)
    done = atrous.convert(model, stride, input=(1, 3, 32, 32), resample=True, measure=False).model
    expected = ran(done, rank, 24)
    assert torch.equal(ran(copy.deepcopy(done), rank, 24), expected)
    if name != "pyramid":  # a pyramid holds a plain function
        assert torch.equal(ran(pickle.loads(pickle.dumps(done)), rank, 24), expected)
    done.load_state_dict(model.state_dict())
    done.train()
    steps = torch.optim.SGD(done.parameters(), lr=0.1)
    for _ in range(2):
        steps.zero_grad()
        done(torch.randn(2, 3, 32, 32, dtype=torch.double)).square().mean().backward()
        assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in done.parameters())
        steps.step()
    assert not torch.equal(ran(done.eval(), rank, 24), expected)


def test_the_features_in_front_of_a_resampled_join_are_exact():
    model = made(Pyramid)
    names = ["encoder.one.1", "encoder.two.1", "encoder.three.1", "smooth"]
    done = atrous.convert(model, 2, input=(1, 3, 32, 32), outputs=names, resample=True)
    assert [o.verdict for o in done.certificate.outputs] == ["exact"] * 3 + ["approximate"]
    assert [int(o.factor[0]) for o in done.certificate.outputs] == [1, 2, 4, 1]
    assert done.certificate.agrees


def test_a_join_is_resampled_only_where_it_does_not_fit():
    model = made(Pyramid)
    plain = atrous.convert(model, 8, input=(1, 3, 32, 32), resample=True)
    assert (plain.certificate.verdict, plain.edits) == ("exact", ())
    half = atrous.convert(model, 4, input=(1, 3, 32, 32), resample=True)
    said = [str(e) for e in half.edits if e.attribute == "resample"]
    assert said == ["add: resample none -> bilinear to the size of lateral"]


def test_code_that_cannot_be_traced_is_refused_with_the_way_out():
    def join(x, y):
        return x + y if float(y.shape[-1]) > 1 else y

    with pytest.raises(ConversionError, match=r"joins maps .* cannot trace it .* for joins"):
        atrous.convert(made(lambda: Pyramid(join=join)), 4, input=(1, 3, 32, 32), resample=True)


class Given(nn.Module):
    """Joins a list that it is given, along the channels."""

    def forward(self, maps):
        return torch.cat(maps, 1)


class Pair(nn.Module):
    """Two maps as a list."""

    def forward(self, x, y):
        return [x, y]


class Lists(nn.Module):
    """A skip that is joined by a module which takes a list, or by a list which a module makes."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.encoder, self.how = Encoder(), how
        self.pair, self.given = Pair(), Given()
        self.out = nn.Conv2d(8, 4, 1)

    def forward(self, x):
        _, two, three = self.encoder(x)
        up = functional.interpolate(three, scale_factor=2)
        if self.how == "given":
            return self.out(self.given([up, two]))
        return self.out(torch.cat([up, two] if self.how == "code" else self.pair(up, two), 1))


@pytest.mark.parametrize("how", ["given", "made"])
def test_a_join_of_a_list_that_comes_from_elsewhere_is_resampled_as_one_in_the_code(how):
    found = {}
    for kind in ("code", how):
        done = atrous.convert(made(lambda: Lists(kind)), 4, input=(1, 3, 32, 32), resample=True)  # noqa: B023
        assert done.certificate.verdict == "approximate"
        assert done.certificate.agrees
        x = torch.randn(1, 3, 40, 40, generator=torch.Generator().manual_seed(3)).double()
        found[kind] = done.model(x)
    torch.testing.assert_close(found[how], found["code"])
    again = pickle.loads(pickle.dumps(done.model))
    torch.testing.assert_close(again(x), found[how])


def test_maps_that_are_stacked_are_not_resampled():
    model = made(lambda: Pyramid(join=lambda x, y: torch.stack([x, y]).sum(0)))
    with pytest.raises(ConversionError, match="its inputs no longer fit"):
        atrous.convert(model, 4, input=(1, 3, 32, 32), resample=True)


def test_a_transposed_convolution_behind_a_removed_stride_stays_refused():
    net = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(4, 4, 3, 2, 1))
    net.append(nn.ConvTranspose2d(4, 4, 2, 2))
    with pytest.raises(ConversionError, match="it spreads each position over 2"):
        atrous.convert(net, 2, input=(1, 3, 32, 32), resample=True)


def test_maps_laid_end_to_end_are_not_resampled():
    def join(x, y):
        return torch.cat([x, y], dim=3)[..., ::2]

    with pytest.raises(ConversionError, match="its inputs no longer fit"):
        atrous.convert(made(lambda: Pyramid(join=join)), 4, input=(1, 3, 32, 32), resample=True)


def doubled(sizes: tuple[int, ...]) -> Resize:
    return Resize(sizes, "linear", "half_pixel", (Fraction(2),) * len(sizes))


def test_a_network_as_data_is_resampled_in_its_plan():
    b = Builder()
    x = b.input("x", (1, 3, 64, 64))
    one = b.conv(x, 8, 3, stride=2, padding=1, name="one")
    two = b.conv(one, 8, 3, stride=2, padding=1, name="two")
    side = b.conv(one, 8, 3, stride=2, padding=1, name="side")
    up = b.add(doubled((32, 32)), two, name="up")
    same = b.join(two, side, name="same")
    net = b.build(b.concat(up, one, up, name="join"), same)
    done = atrous.convert(net, 2, resample=True)
    assert [o.verdict for o in done.certificate.outputs] == ["approximate", "exact"]
    # What is joined twice is resampled once.
    made = done.model.node("join.resample")
    assert (made.inputs, made.output.shape) == (("up",), (1, 8, 32, 32))
    assert done.model.node("join").inputs == ("join.resample", "one", "join.resample")
    assert [str(e) for e in done.edits if e.attribute == "resample"] == [
        "join: resample none -> bilinear to the size of one"
    ]
    assert "join: resample none -> bilinear to the size of one" in str(done)


def test_a_map_resized_to_a_size_that_does_not_divide_fits_as_it_is():
    b = Builder()
    x = b.input("x", (1, 3, 64, 65))
    one = b.conv(x, 8, 3, stride=2, padding=1, name="one")
    two = b.conv(one, 8, 3, stride=2, padding=1, name="two")
    up = b.resize(two, one.shape[2:], name="up")
    done = atrous.convert(b.build(b.join(up, one, name="join")), 2)
    assert done.certificate.verdict == "approximate"
    assert [str(c) for c in done.certificate.causes] == ["up: it resamples a map of another size"]


def test_an_onnx_file_is_not_resampled_and_says_so():
    weights = numpy_helper.from_array(np.ones((3, 3, 3, 3), np.float32), "w")
    held = {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}
    nodes = [
        helper.make_node("Conv", ["small", "w"], ["one"], "one", **held),
        helper.make_node("Conv", ["large", "w"], ["two"], "two", **held),
        helper.make_node("Conv", ["two", "w"], ["three"], "three", **held),
        helper.make_node("Add", ["three", "one"], ["y"], "join"),
    ]
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3, size, size])
        for name, size in (("small", 32), ("large", 64))
    ]
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3, 16, 16])
    graph = helper.make_graph(nodes, "net", inputs, [y], [weights])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    with pytest.raises(ConversionError, match="its inputs no longer fit: three"):
        atrous.convert(model, 2)
    with pytest.raises(ConversionError, match="resampling at joins is not written into ONNX") as e:
        atrous.convert(model, 2, resample=True)
    assert (e.value.refusal.rule, e.value.refusal.layer) == ("resample", "join")


def test_an_onnx_decoder_that_says_its_sizes_needs_no_resampling(tmp_path):
    model, path = made(Pyramid).float(), tmp_path / "net.onnx"
    torch.onnx.export(model, (torch.randn(1, 3, 32, 32),), str(path), dynamo=False)
    done = atrous.convert(path, 2, resample=True)
    assert done.certificate.verdict == "approximate"
    assert not [e for e in done.edits if e.attribute == "resample"]
