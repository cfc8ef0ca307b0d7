"""Peak memory against PyTorch's profiler, and views against PyTorch's own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
import timm
import torch
import torchvision
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import atrous
from atrous.analysis.check import check_report
from atrous.analysis.compare import compare_networks
from atrous.analysis.diff import diff_reports
from atrous.analysis.requirements import parse_rules
from atrous.analysis.strides import contiguous, reshaped
from atrous.network import EagerRun
from atrous.readers.torch.eager import eager_run
from tests.memory_probe import profiled_peak
from tests.oracles import drawing

MODELS = [
    "torchvision:resnet18",
    "torchvision:mobilenet_v2",
    "torchvision:squeezenet1_1",
    "timm:deit_tiny_patch16_224",
    "timm:convnext_atto",
    "timm:resnetblur18",
    "timm:res2net50d",
    "timm:levit_128",
    "timm:cait_xxs24_224",
]


def _model(name: str) -> nn.Module:
    torch.manual_seed(0)
    library, _, model = name.partition(":")
    if library == "timm":
        return timm.create_model(model).eval()
    return torchvision.models.get_model(model, weights=None).eval()


@pytest.mark.parametrize("name", MODELS)
def test_the_peak_is_what_the_profiler_sees(name: str) -> None:
    model = _model(name)
    report = atrous.inspect(model, (1, 3, 224, 224))
    peak = profiled_peak(model, torch.zeros(1, 3, 224, 224))
    # A number that PyTorch makes a tensor of for an op takes 8 bytes.
    assert report.peak_memory_bytes == pytest.approx(peak.tensors, abs=16)
    assert peak.calls <= peak.tensors <= peak.everything
    assert report.memory.peak_bytes <= report.peak_memory_bytes


class Held(nn.Module):
    """A module whose caller holds what it was given until it returns."""

    def __init__(self, view: bool) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Conv2d(3, 8, 1), nn.Tanh(), nn.Sigmoid(), nn.Conv2d(8, 3, 1))
        self.view = view

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.inner(x + 1)
        if self.view:
            return x.reshape(1, 3, -1) * 2
        return x.permute(0, 3, 2, 1).reshape(1, -1, 3)


class Looped(nn.Module):
    """Children that a loop runs one after the other, each map let go when the next one is made."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 24, 3, padding=1)
        self.rest = nn.ModuleList([nn.Conv2d(24, 2, 1), nn.Conv2d(2, 30, 1), nn.Conv2d(30, 3, 1)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x)
        for part in self.rest:
            x = part(x)
        return x


class Named(Looped):
    """The same with a name for each map, all of which live until the end."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a = self.first(x)
        b = self.rest[0](a)
        c = self.rest[1](b)
        return self.rest[2](c)


class Listed(Looped):
    """A list holds the maps that a concatenation has read already."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        maps = [self.first(x)]
        maps.append(self.rest[0](maps[-1]))
        joined = torch.cat(maps[:1], 1) * 1
        return self.rest[2](self.rest[1](self.rest[0](joined)))


class Writing(nn.Module):
    """In-place ops, views of one storage, an output buffer, and a map that grows."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = (x * 2).relu_().add_(1)
        made = x.new_zeros(1, 9, *x.shape[2:])
        made[:, 3:6] = x
        rows = [row.sigmoid_() for row in made.unbind(2)]
        return torch.stack(rows, 2).mul_(made).transpose(2, 3).contiguous()


class Keeping(nn.Module):
    """A table that the first run makes and that the model keeps."""

    def __init__(self) -> None:
        super().__init__()
        self.table: torch.Tensor | None = None
        self.tables: dict[int, torch.Tensor] = {}
        self.register_buffer("places", torch.arange(400.0))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.table is None:
            self.table = self.places.repeat(40).view(40, 20, 20).cos()
        width = x.shape[-1]
        if width not in self.tables:
            self.tables[width] = self.table[:, :width, :width].contiguous()
        return (x.repeat(1, 2, 1, 1)[:, :1] + self.tables[width]).sum(1)


class Counting(nn.Module):
    """Sizes that are stored, or computed of whole numbers, and a counter that a run changes."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("wide", torch.tensor([1, 3]))
        self.register_buffer("runs", torch.tensor(0))
        self.register_buffer("scale", torch.tensor(0.5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.runs += 1
        low, high = self.wide.tolist()
        taken = int(torch.arange(2, 5).sum()) // 3
        order = torch.arange(16).flip(0)
        x = nn.functional.pad(x, (low, high)).relu() * float(self.scale)
        return x[:, :taken].index_select(2, order) + order[None, :, None]


class Recurring(nn.Module):
    """A recurrent layer over the rows of a map."""

    def __init__(self, layer: nn.RNNBase) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x[:, 0])[0]


class Stepping(nn.Module):
    """What a generator hands out is summed on the way."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        def steps(x: torch.Tensor) -> Iterator[torch.Tensor]:
            for _ in range(4):
                x = x.cos()
                yield x

        y = sum(steps(x))
        del x
        return y.sigmoid()


class Plain(nn.Module):
    """Stored tensors that nobody registered, views of one storage, and one in an odd order."""

    def __init__(self) -> None:
        super().__init__()
        both = torch.randn(8, 3, 1, 1)
        self.first, self.second = both[:4], both[4:]
        self.turned = nn.Parameter(torch.randn(3, 1, 1, 4).permute(3, 0, 1, 2))
        self.register_buffer("low", torch.randn(4, 3, 1, 1, dtype=torch.float16))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a = nn.functional.conv2d(x, self.first) + nn.functional.conv2d(x, self.second)
        return a * nn.functional.conv2d(x, self.turned) + nn.functional.conv2d(x, self.low.float())


class Turned(nn.Module):
    """A linear layer on a map that does not lie in order, which adds its bias in place."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Linear(16, 40)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.mix(x.repeat(1, 3, 1, 1).permute(0, 3, 2, 1)[..., :1].expand(-1, -1, -1, 16))


class Constants(nn.Module):
    """Maps that no input reaches, and indices that only a kernel wants."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        grid = torch.stack(torch.meshgrid(torch.arange(16), torch.arange(16), indexing="ij"))
        x = nn.functional.max_pool2d(x.repeat(1, 8, 1, 1), 2, 1)
        wide = grid.float().flatten(1)[None].expand(x.shape[1], -1, -1)
        return x.flatten(1).sum(1) + wide.cumsum(2).sum()


@pytest.mark.parametrize(
    "model",
    [
        Held(True),
        Held(False),
        Looped(),
        Named(),
        Listed(),
        Writing(),
        Keeping(),
        Counting(),
        Recurring(nn.LSTM(16, 24, 2, bidirectional=True, batch_first=True)),
        Recurring(nn.GRU(16, 24, 2, batch_first=True)),
        Stepping(),
        nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 5, 3)),
        nn.Sequential(nn.InstanceNorm2d(3), nn.GroupNorm(3, 3), nn.LayerNorm(16), nn.Softmax(1)),
        nn.Sequential(nn.Upsample(scale_factor=2, mode="bicubic"), nn.AdaptiveMaxPool2d(3)),
        nn.Conv2d(3, 8, 3).to(memory_format=torch.channels_last),
        Plain(),
        Turned(),
        Constants(),
        nn.TransformerEncoder(nn.TransformerEncoderLayer(16, 4, 64, batch_first=True), 2),
    ],
    ids=lambda model: type(model).__name__,
)
def test_every_storage_is_followed_to_the_byte(model: nn.Module) -> None:
    model = model.eval()
    shape = (1, 16, 16) if isinstance(model, nn.TransformerEncoder) else (1, 3, 16, 16)
    found = eager_run(model, (torch.zeros(shape),))
    # A number that PyTorch makes a tensor of for an op takes 8 bytes.
    seen = profiled_peak(model, torch.zeros(shape)).tensors
    assert found.peak_bytes == pytest.approx(seen, abs=16), found
    assert max(found.alive) == found.peak_bytes
    assert found.layers[found.alive.index(found.peak_bytes)] == found.at


def test_several_inputs_tokens_and_keywords_count() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words = nn.Embedding(50, 12)

        def forward(self, tokens: torch.Tensor, *, scale: torch.Tensor) -> torch.Tensor:
            return self.words(tokens).relu() * scale

    tokens, scale = torch.zeros(2, 9, dtype=torch.long), torch.ones(12)
    found = eager_run(Two(), (tokens,), {"scale": scale})
    assert found.peak_bytes == tokens.nbytes + scale.nbytes + 2 * (2 * 9 * 12 * 4)


def test_what_a_pre_hook_keeps_is_not_taken_for_all_that_there_is() -> None:
    with pytest.warns(FutureWarning):
        model = nn.utils.weight_norm(nn.Conv2d(3, 3, 3)).eval()
    found = eager_run(model, (torch.zeros(1, 3, 16, 16),))
    assert found.peak_bytes == profiled_peak(model, torch.zeros(1, 3, 16, 16)).tensors


def test_numbers_that_a_run_writes_are_not_written() -> None:
    model = Counting().eval()
    eager_run(model, (torch.zeros(1, 3, 16, 16),))
    assert model.runs == 0


def test_a_run_leaves_the_module_as_it_was() -> None:
    model = Keeping().train()
    eager_run(model, (torch.zeros(1, 3, 16, 16),))
    assert model.table is None
    assert not model.tables
    assert model.training
    assert type(model(torch.zeros(1, 3, 16, 16))) is torch.Tensor


class Deciding(nn.Module):
    """What it does depends on numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.inner(x)
        return x[x > 0] if x.sum() > 0 else x


def test_what_depends_on_numbers_is_said_not_to_be_known() -> None:
    found = eager_run(Deciding(), (torch.zeros(1, 3, 4, 4),))
    assert found.peak_bytes is None
    assert "depend on the values of its inputs" in found.reason


def test_without_an_eager_run_the_graph_alone_is_a_lower_bound() -> None:
    network = atrous.read(nn.Conv2d(3, 4, 3), (1, 3, 9, 9))
    assert network.eager is not None
    lost = replace(network, eager=EagerRun(None, reason="it asks the weather"))
    report = atrous.inspect(lost)
    assert report.peak_memory_bytes == report.memory.peak_bytes
    assert "it asks the weather" in report.uncounted["memory"][0]
    assert "at least" in str(report)
    assert not check_report(report, parse_rules("memory", "<=1TiB"))
    assert report.to_dict()["memory"]["eager"]["peak_bytes"] is None


def test_both_figures_are_named_everywhere() -> None:
    report = atrous.inspect(Named().eval(), (1, 3, 16, 16))
    plain = report.to_dict()
    assert plain["memory"]["eager"]["peak_bytes"] == plain["peak_memory_bytes"]
    assert plain["memory"]["graph"]["peak_bytes"] < plain["peak_memory_bytes"]
    assert "run eagerly, while" in str(report)
    assert "by the graph, which a compiler could reach" in " ".join(str(report).split())
    smaller = atrous.inspect(Named().eval(), (1, 3, 8, 8))
    told = [delta.what for delta in diff_reports(plain, smaller.to_dict()).totals]
    assert {"memory", "memory of the graph"} <= set(told)
    graph = atrous.inspect(replace(smaller.network, eager=None)).to_dict()
    told = [delta.what for delta in diff_reports(plain, graph).totals]
    assert "memory" not in told
    check = check_report(report, parse_rules("memory", "<=1MiB"))
    assert check
    assert "by the graph" in check.outcomes[0].reason


def test_comparisons_take_one_measure_for_both_sides() -> None:
    module = atrous.read(Named().eval(), (1, 3, 16, 16))
    graph = replace(module, eager=None)
    alone = compare_networks({"a": module, "b": module}, {})
    mixed = compare_networks({"a": module, "b": graph}, {})
    assert {scheme.to_dict()["memory_by"] for scheme in alone} == {"eager"}
    assert {scheme.to_dict()["memory_by"] for scheme in mixed} == {"graph"}
    assert len({scheme.peak_memory_bytes for scheme in mixed}) == 1


def test_the_probe_finds_a_report_that_forgets_a_map() -> None:
    model = Named().eval()
    peak = profiled_peak(model, torch.zeros(1, 3, 16, 16))
    assert atrous.inspect(model, (1, 3, 16, 16)).memory.peak_bytes < peak.tensors


@drawing(200)
@given(st.data())
def test_a_reshape_is_a_view_exactly_where_torch_makes_one(data: st.DataObject) -> None:
    sizes = st.lists(st.sampled_from([1, 2, 3, 4, 6]), min_size=1, max_size=4)
    x = torch.empty(data.draw(sizes))
    x = x.permute(data.draw(st.permutations(range(x.ndim))))
    for dim in range(x.ndim):
        step = data.draw(st.integers(1, 2))
        x = x[(slice(None),) * dim + (slice(0, None, step),)]
    to = data.draw(_factored(x.numel()))
    ours = reshaped(tuple(x.shape), x.stride(), to)
    try:
        theirs = x.view(to)
    except RuntimeError:
        assert ours is None
        return
    assert ours is not None
    wide = [i for i, size in enumerate(to) if size > 1]
    assert [ours[i] for i in wide] == [theirs.stride()[i] for i in wide]


@st.composite
def _factored(draw: st.DrawFn, total: int) -> list[int]:
    out = []
    while total > 1:
        size = draw(st.sampled_from([n for n in range(1, total + 1) if total % n == 0]))
        out.append(size)
        total //= size
        if len(out) > 5:
            break
    return [*out, total]


def test_contiguous_strides_are_torchs() -> None:
    assert contiguous((2, 3, 4)) == torch.empty(2, 3, 4).stride()
