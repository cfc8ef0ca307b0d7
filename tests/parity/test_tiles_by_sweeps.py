"""Models with layers that mix all positions, by tiles, against themselves on the whole image."""

import pickle

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import atrous
from atrous.runners.tiled import statistics
from atrous.runners.tiled.sweeps import gather
from atrous.runners.tiled.tiled import Tiled
from atrous.verbs.tile import Planner

NEAR = 1e-12


def largest_difference(model, shapes, tile, *, dtype=torch.double, **asked):
    """What tiles differ by as a share of the largest value, and the plan."""
    torch.manual_seed(0)
    model = model.to(dtype).eval()
    for part in model.modules():
        if hasattr(part, "reset_parameters"):
            part.reset_parameters()
        if getattr(part, "affine", False) or getattr(part, "elementwise_affine", False):
            for held in part.parameters():
                nn.init.uniform_(held, 0.5, 1.5)
    # A ramp: parts of the image have other statistics than the whole.
    images = [
        torch.randn(shape, dtype=dtype) + torch.linspace(0, 3, shape[-1], dtype=dtype)
        for shape in shapes
    ]
    tiled = atrous.tile(model, tile=tile, **{"statistics": "exact", **asked})
    found = tiled(*images)
    with torch.no_grad():
        whole = model(*images)
    plan = tiled.plan(*shapes)
    assert len(plan) > 1
    assert found.shape == whole.shape
    return float((found - whole).abs().max() / whole.abs().max()), plan


def conv(inputs, outputs, kernel=3, stride=1, dilation=1):
    return nn.Conv2d(inputs, outputs, kernel, stride, dilation * (kernel // 2), dilation)


class ChannelsFirstNorm(nn.LayerNorm):
    def forward(self, x):
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class WholeNorm(nn.Module):
    def forward(self, x):
        return functional.layer_norm(x, x.shape[1:])


class SqueezeAndExcite(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.less, self.more = nn.Linear(channels, 2), nn.Linear(2, channels)

    def forward(self, x):
        scale = torch.sigmoid(self.more(functional.silu(self.less(x.mean((2, 3))))))
        return x * scale[:, :, None, None]


class ImagePooling(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(conv(2, 4, stride=2), nn.ReLU(), conv(4, 4, stride=2))
        self.branches = nn.ModuleList([conv(4, 3, 1), conv(4, 3, dilation=2)])
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), conv(4, 3, 1), nn.SiLU())
        self.head = conv(9, 2, 1)

    def forward(self, x):
        deep = self.backbone(x)
        size = {"mode": "bilinear", "align_corners": False}
        pooled = functional.interpolate(self.pool(deep), deep.shape[2:], **size)
        out = self.head(torch.cat([*(b(deep) for b in self.branches), pooled], 1))
        return functional.interpolate(out, x.shape[2:], **size)


class PyramidPooling(nn.Module):
    """Pools to a few positions of the whole map, resized back to it."""

    def __init__(self, sizes=(1, 2, 3, 6), pool=nn.AdaptiveAvgPool2d, kernel=1):
        super().__init__()
        self.first, self.norm = conv(2, 4, stride=2), nn.InstanceNorm2d(4)
        self.pools = nn.ModuleList(
            nn.Sequential(pool(size), conv(4, 2, kernel), nn.SiLU()) for size in sizes
        )
        self.head = conv(4 + 2 * len(sizes), 2)

    def forward(self, x):
        x = self.first(x)
        size = {"size": x.shape[2:], "mode": "bilinear", "align_corners": False}
        parts = [functional.interpolate(pool(x), **size) for pool in self.pools]
        return self.head(torch.cat([self.norm(x), *parts], 1))


class StripPooling(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.tall, self.wide = conv(2, 3, stride=2), conv(3, 3), conv(3, 3)

    def forward(self, x):
        x = self.first(x)
        rows = self.tall(functional.adaptive_avg_pool2d(x, (x.shape[2], 1)))
        columns = self.wide(functional.adaptive_max_pool2d(x, (1, x.shape[3])))
        return x * torch.sigmoid(rows + columns) + x.amax(3, keepdim=True)


class WrittenOut(nn.Module):
    """A group norm over flattened positions, a root mean square, and pools in other words."""

    def __init__(self):
        super().__init__()
        self.first = conv(2, 4)

    def forward(self, x):
        x = self.first(x)
        flat = x.view(x.shape[0], 2, -1)
        spread, middle = torch.var_mean(flat, -1, correction=0, keepdim=True)
        x = ((flat - middle) / torch.sqrt(spread + 1e-5)).view(x.shape)
        x = x / torch.sqrt(x.square().mean((1, 2, 3), keepdim=True) + 1e-6)
        sums = x.std((2, 3)) + x.flatten(2).max(-1).values - x.amin((2, 3)) + x.sum((2, 3)) / 99
        sums = sums + torch.linalg.vector_norm(x, dim=(2, 3)) + x.norm(1, (2, 3))
        pooled = functional.avg_pool2d(x, x.shape[2:]) + functional.max_pool2d(x, x.shape[2:])
        return x + sums[:, :, None, None] * pooled


class Resnet(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.norms = nn.ModuleList(nn.GroupNorm(2, channels) for _ in range(2))
        self.convs = nn.ModuleList(conv(channels, channels) for _ in range(2))

    def forward(self, x):
        out = x
        for norm, layer in zip(self.norms, self.convs, strict=True):
            out = layer(functional.silu(norm(out)))
        return x + out


class Attention(nn.Module):
    def forward(self, x):
        flat = x.flatten(2).transpose(1, 2)
        found = functional.scaled_dot_product_attention(flat, flat, flat)
        return x + found.transpose(1, 2).view(x.shape)


def decoder(*middle):
    return nn.Sequential(
        conv(2, 4), Resnet(4), *middle, Resnet(4),
        nn.Upsample(scale_factor=2), conv(4, 4), Resnet(4),
        nn.GroupNorm(2, 4), nn.SiLU(), conv(4, 3),
    )  # fmt: skip


class TwoInputs(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.two = conv(1, 4), conv(2, 4)
        self.norms = nn.ModuleList(nn.GroupNorm(2, 4) for _ in range(2))

    def forward(self, a, b):
        return self.norms[0](self.one(a)) * self.norms[1](self.two(b)).mean((2, 3), keepdim=True)


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(conv(2, 4, stride=2), nn.BatchNorm2d(4), nn.ReLU())
        self.head = nn.Linear(4, 5)

    def forward(self, x):
        return self.head(functional.adaptive_avg_pool2d(self.body(x), 1).flatten(1))


def norms(make):
    return nn.Sequential(
        conv(2, 4, stride=2), make(), nn.ReLU(), conv(4, 4, dilation=2), make(),
        nn.SiLU(), conv(4, 4), make(), conv(4, 2),
    )  # fmt: skip


IMAGE = [(2, 2, 45, 58)]
CASES = {
    "group norm": (norms(lambda: nn.GroupNorm(2, 4)), IMAGE, 16, 4),
    "instance norm": (norms(lambda: nn.InstanceNorm2d(4, affine=True)), IMAGE, 16, 4),
    "batch norm": (norms(lambda: nn.BatchNorm2d(4, track_running_stats=False)), IMAGE, 16, 4),
    "whole layer norm": (norms(WholeNorm), IMAGE, (16, 24), 4),
    "local layer norm": (norms(lambda: ChannelsFirstNorm(4)), IMAGE, 16, 1),
    "squeeze": (nn.Sequential(conv(2, 6), SqueezeAndExcite(6), conv(6, 2)), IMAGE, 13, 2),
    "image pooling": (ImagePooling(), [(1, 2, 53, 71)], 16, 2),
    "pyramid pooling": (PyramidPooling(), [(1, 2, 90, 131)], 24, 2),
    "pyramid of maxima": (
        PyramidPooling(((3, 5), (4, 1)), nn.AdaptiveMaxPool2d, 3),
        [(2, 2, 75, 90)],
        (14, 20),
        2,
    ),
    "pyramid pooling, one axis cut": (PyramidPooling(), [(1, 2, 90, 50)], (20, 60), 2),
    "strip pooling": (StripPooling(), IMAGE, (10, 16), 2),
    "strip pooling, one axis cut": (StripPooling(), IMAGE, (60, 16), 2),
    "written out": (WrittenOut(), IMAGE, 11, 4),
    "decoder": (decoder(), [(1, 2, 27, 34)], 12, 8),
    "two inputs": (TwoInputs(), [(2, 1, 31, 40), (2, 2, 31, 40)], 9, 3),
    "classifier": (Classifier(), IMAGE, 16, 2),
    "1-d": (nn.Sequential(nn.Conv1d(2, 4, 5, 2), nn.GroupNorm(1, 4)), [(1, 2, 301)], 50, 2),
    "3-d": (
        nn.Sequential(nn.Conv3d(1, 2, 3, 1, 1), nn.InstanceNorm3d(2)),
        [(1, 1, 9, 14, 17)],
        5,
        2,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_sweeps_give_what_the_whole_image_gives(name):
    model, shapes, tile, sweeps = CASES[name]
    apart, plan = largest_difference(model, shapes, tile)
    assert plan.sweeps == sweeps
    assert apart <= NEAR


def test_in_single_precision_the_result_is_that_of_the_whole_image_but_for_rounding():
    model, shapes, tile, _ = CASES["decoder"]
    apart, _ = largest_difference(model, shapes, tile, dtype=torch.float32)
    assert apart <= 1e-5


def test_positions_of_halos_that_are_counted_twice_are_seen(monkeypatch):
    def whole_tiles(gathered, layer, value, tile):
        call = gathered.calls[layer]
        origins = {
            axis.axis: axis.offset(call.tensor, axis.origin(place))
            for axis, place in zip(gathered.plan.axes, tile.index, strict=True)
        }
        starts = [origins.get(one.axis, 0) for one in call.digits]
        places = zip(starts, call.digits, strict=True)
        return value.reshape([one.made for one in call.digits]), tuple(
            slice(start, start + one.made) for start, one in places
        )

    monkeypatch.setattr(statistics.Gathered, "own", whole_tiles)
    with pytest.raises(atrous.UnsupportedError, match="for a tile of another size"):
        largest_difference(*CASES["squeeze"][:3])
    # Without that check the results tell.
    monkeypatch.setattr(Tiled, "_beside", lambda *_: None)
    for name, (model, shapes, tile, sweeps) in CASES.items():
        if sweeps > 1:
            apart, _ = largest_difference(model, shapes, tile)
            assert apart > 1e-5, name


def test_the_last_image_leaves_nothing_behind():
    model, shapes, tile, _ = CASES["group norm"]
    model = model.double().eval()
    tiled = atrous.tile(model, tile=tile, statistics="exact")
    for scale in (1, 7):
        image = torch.rand(shapes[0], dtype=torch.double) * scale + scale
        with torch.no_grad():
            whole = model(image)
        assert float((tiled(image) - whole).abs().max()) <= NEAR * float(whole.abs().max())


def test_statistics_of_each_tile_are_another_result_whose_error_is_measured():
    model, shapes, tile, _ = CASES["group norm"]
    apart, plan = largest_difference(model, shapes, tile, statistics="tile")
    assert (plan.exact, plan.sweeps, len(plan.statistics)) == (False, 1, 3)
    assert "by each tile's own statistics" in str(plan)
    tiled = atrous.tile(model, tile=tile, statistics="tile")
    assert tiled.error is None
    image = torch.randn(shapes[0], dtype=torch.double) + torch.linspace(0, 3, shapes[0][-1])
    found = tiled(image)
    with torch.no_grad():
        difference = (found - model(image)).abs()
    assert apart > 1e-3
    assert 1e-3 < tiled.error.largest <= float(difference.max()) + NEAR
    assert tiled.error.tiles == ((0, 0), (1, 2), (2, 3))
    assert "measured on the tiles (0, 0), (1, 2), (2, 3)" in str(tiled.error)


class Divided(nn.Module):
    """Takes a number from the size of its input, which only the statistics show."""

    def __init__(self):
        super().__init__()
        self.first = conv(2, 4)

    def forward(self, x):
        x = self.first(x)
        return x * (x * x.shape[-1]).mean((2, 3), keepdim=True)


class Sorted(nn.Module):
    def forward(self, x):
        return x - x.flatten(2).sort(-1).values[..., :1, None]


class Products(nn.Module):
    def forward(self, x):
        return x * torch.einsum("nchw->nc", x)[..., None, None]


class Places(nn.Module):
    def forward(self, x):
        return x - x.flatten(2).max(-1).indices[..., None, None]


@pytest.mark.parametrize(
    ("model", "asked", "words"),
    [
        (nn.Sequential(conv(2, 4), nn.GroupNorm(2, 4)), None, "1: .*give statistics='exact'"),
        (decoder(Attention()), "exact", "scaled_dot_product_attention: lets all positions see"),
        (nn.Sequential(conv(2, 4), nn.Softmax(3)), "exact", "1: lets all positions see"),
        (Sorted(), "exact", "holds h and w together"),
        (Products(), "exact", "einsum: sums over all positions by einsum, which tiles"),
        (Places(), "exact", "max: the places of its maxima"),
        (Divided(), "exact", "mean is given differs for a tile of another size"),
        (nn.LayerNorm((2, 45, 58)), "exact", "run on a tile of 2x2x16x16: .*normalized_shape"),
        (conv(2, 4), "none", "statistics='none' is none of 'exact' and 'tile'"),
    ],
)
def test_what_cannot_be_gathered_is_refused_and_named(model, asked, words):
    with pytest.raises(atrous.AtrousError, match=words):
        atrous.tile(model.eval(), tile=16, statistics=asked)(torch.rand(2, 2, 45, 58))


@pytest.mark.parametrize("name", ["group norm", "batch norm", "pyramid pooling", "classifier"])
def test_gradients_through_statistics_are_those_of_the_whole_image(name):
    model, shapes, tile, _ = CASES[name]
    model = model.double().eval()
    image = torch.randn(shapes[0], dtype=torch.double, requires_grad=True)
    whole = model(image)
    by_output = torch.randn(whole.shape, dtype=torch.double)
    model.zero_grad()
    (right,) = torch.autograd.grad(whole, image, by_output, retain_graph=True)
    torch.autograd.backward(whole, by_output, inputs=list(model.parameters()))
    wanted = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    tiled = atrous.tile(model, tile=tile, statistics="exact")
    by_image = tiled.backward(image.detach(), by_output, of_image=True)
    for found, one in zip([p.grad for p in model.parameters()], wanted, strict=True):
        assert float((found - one).abs().max()) <= 1e-9
    assert float((by_image - right).abs().max()) <= 1e-11 * float(right.abs().max())


def test_gradients_go_through_no_maximum_and_by_no_statistics_of_a_tile():
    for name, how, words in (
        ("strip pooling", "exact", "adaptive_max_pool2d: gradients do not go through a maximum"),
        ("group norm", "tile", "1: by each tile's own statistics this is another model"),
    ):
        model, shapes, tile, _ = CASES[name]
        tiled = atrous.tile(model.double(), tile=tile, statistics=how)
        image = torch.rand(shapes[0], dtype=torch.double)
        with pytest.raises(atrous.UnsupportedError, match=words):
            tiled.backward(image, torch.ones_like(model(image)))


def test_a_budget_holds_with_sweeps():
    model, _, _, _ = CASES["strip pooling"]
    plan = atrous.plan_tiles(model, (1, 2, 900, 900), memory="8MiB", statistics="exact")
    assert plan.sweeps == 2
    assert plan.memory_bytes <= 8 * 2**20 < plan.whole_peak_bytes


def test_the_plan_says_the_sweeps_and_holds_what_is_gathered():
    model, shapes, tile, _ = CASES["strip pooling"]
    plan = atrous.plan_tiles(model, shapes[0], tile=tile, statistics="exact")
    text = str(plan)
    assert "2, to gather the statistics of" in text
    assert plan.memory_bytes > plan.tile_peak_bytes + sum(one.nbytes for one in plan.gathered)
    rows = next(one for one in plan.gathered if one.layer.startswith("adaptive_avg"))
    assert rows.nbytes == 2 * 3 * 23 * 3 * 8
    assert (plan.to_dict()["sweeps"], plan.to_dict()["exact"]) == (2, True)


def test_tiles_of_a_run_into_an_array_gather_first():
    model, shapes, tile, _ = CASES["group norm"]
    model = model.double().eval()
    image = np.random.default_rng(0).standard_normal(shapes[0])
    target = np.zeros((2, 2, 23, 29))
    atrous.tile(model, tile=tile, statistics="exact").run(image, target)
    with torch.no_grad():
        whole = model(torch.from_numpy(image)).numpy()
    assert np.abs(target - whole).max() <= NEAR * np.abs(whole).max()


def test_an_engine_that_goes_to_another_process_takes_its_statistics_along():
    model, shapes, tile, _ = CASES["squeeze"]
    planner = Planner(model.double(), tile=tile, statistics="exact")
    plan = planner.plan(tuple(shapes))
    engine = planner.engine(plan)
    image = torch.rand(shapes[0], dtype=torch.double)
    gather(plan, engine, lambda one: [image[one.read[0]]])
    last = plan.tile(len(plan) - 1)
    sent = pickle.loads(pickle.dumps(engine))
    found = (one.run([image[last.read[0]]], [last])[0] for one in (engine, sent))
    assert torch.equal(*found)
