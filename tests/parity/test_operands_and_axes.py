"""Every operand that depends on the input counts, every axis is found, and no field contradicts."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 - the name that PyTorch code gives it

import atrous
from tests.nan_probe import read_by


class Runs(nn.Module):
    """A function of the input and of some layers, as a module."""

    def __init__(self, run: Callable[..., torch.Tensor], **layers: nn.Module) -> None:
        super().__init__()
        self.run = run
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.run(self, x)


def near() -> nn.Module:
    return nn.Conv1d(2, 2, 3, padding=1)


def far() -> nn.Module:
    return nn.Conv1d(2, 2, 7, padding=3)


def _writes_through(kind: str) -> Callable[..., torch.Tensor]:
    def run(m: Runs, x: torch.Tensor) -> torch.Tensor:
        x = x * 1
        if kind == "chunk":
            p, q = x.chunk(2, dim=2)
            p.copy_(m.far(q))
        elif kind == "split":
            for part in x.split(4, 2):
                part.add_(m.far(x)[:, :, :4])
        elif kind == "channels":
            _, q = x.chunk(2, 1)
            q.add_(m.far(x)[:, :1])
        else:
            x.unbind(2)[3].copy_(x[:, :, 9])
        return x

    return run


CASES: dict[str, tuple[Callable[..., torch.Tensor], tuple[int, ...]]] = {
    "cosine similarity": (
        lambda m, x: F.cosine_similarity(m.near(x), m.far(x), dim=1)[:, None],
        (1, 2, 12),
    ),
    "addend of baddbmm": (
        lambda m, x: torch.baddbmm(m.far(x), torch.ones(1, 2, 2), x),
        (1, 2, 12),
    ),
    "bias of a convolution": (
        lambda m, x: F.conv1d(x, torch.ones(2, 2, 3), bias=m.far(x).mean((0, 2))),
        (1, 2, 12),
    ),
    "weight of a convolution": (lambda m, x: F.conv1d(m.near(x), m.far(x)[:, :, :3]), (1, 2, 12)),
    "bias of a linear layer": (
        lambda m, x: F.linear(x.mT, torch.ones(2, 2), m.far(x).mean((0, 2))).mT,
        (1, 2, 12),
    ),
    "weight of a layer norm": (
        lambda m, x: F.layer_norm(x.mT, (2,), weight=m.far(x).mean((0, 2))).mT,
        (1, 2, 12),
    ),
    "last state of two recurrent layers": (
        lambda m, x: m.near(x) + m.recur(x.mT)[1][0][-1][:, :, None],
        (1, 2, 12),
    ),
    "running maximum": (lambda m, x: m.near(x).cummax(2)[0], (1, 2, 12)),
    "gated linear unit": (
        lambda m, x: F.glu(torch.cat([m.near(x), m.far(x)], 1), dim=1),
        (1, 2, 12),
    ),
    "chunk written to": (_writes_through("chunk"), (1, 2, 14)),
    "split written to": (_writes_through("split"), (1, 2, 12)),
    "channels written to": (_writes_through("channels"), (1, 2, 12)),
    "positions written to": (_writes_through("unbind"), (1, 2, 12)),
    "parts end to end": (lambda m, x: torch.cat([m.far(x)[..., :9], x[..., 9:]], -1), (1, 2, 20)),
    "the same part twice": (lambda m, x: torch.cat([m.near(x), m.near(x)], -1), (1, 2, 12)),
    "halves swapped": (lambda _, x: torch.cat([x[..., 6:], x[..., :6]], -1), (1, 2, 12)),
    "mean over one of two axes": (lambda m, x: m.near(x.mean(3)), (1, 2, 6, 7)),
    "image to waves and back": (
        lambda _, x: F.avg_pool1d(x.flatten(0, 1), 3, 1, 1)[:, None].unflatten(0, (1, 2))[:, :, 0],
        (1, 2, 6, 8),
    ),
    "frames, then time": (
        lambda m, x: m.near(
            m.frame(x.transpose(1, 2).flatten(0, 1)).mean((2, 3)).unflatten(0, (1, 5)).mT
        ),
        (1, 2, 5, 6, 4),
    ),
    "cumulated rows": (lambda _, x: x.cumsum(-1), (1, 1, 5, 6)),
}


@pytest.mark.parametrize("name", CASES)
def test_what_each_output_reads_is_all_that_it_reads(name: str) -> None:
    torch.manual_seed(0)
    run, shape = CASES[name]
    model = Runs(
        run,
        near=near(),
        far=far(),
        recur=nn.LSTM(2, 2, 2, batch_first=True),
        frame=nn.Conv2d(2, 2, 3, padding=1),
    ).eval()
    report = atrous.inspect(model, shape)
    truth = read_by(model, shape, batch=1)
    grid = report.network.tensor(report.outputs[0].tensor).grid
    every = list(np.ndindex(*grid.values()))
    assert truth.shape[1] == len(every)
    for at, expected in zip(every, truth.T, strict=True):
        foot = report.footprint(at=at)
        assert foot.mask.shape == shape[2:]
        assert (foot.mask.ravel() == expected).all(), (at, report.opaque)


def test_parts_that_read_differently_each_have_their_field() -> None:
    run, shape = CASES["parts end to end"]
    report = atrous.inspect(Runs(run, far=far()), shape)
    assert report.complete
    assert not report.outputs[0].is_global
    assert sorted(part.field[0].size for part in report.outputs[0].parts) == [1, 7]


def test_what_windows_see_across_parts_that_read_differently_is_named_and_has_a_footprint() -> None:
    run, shape = CASES["parts end to end"]
    conv = nn.Conv1d(2, 2, 3)
    report = atrous.inspect(Runs(lambda m, x: conv(run(m, x)), far=far(), conv=conv), shape)
    assert not report.complete
    assert report.outputs[0].field == ()
    assert "parts that lie end to end" in report.opaque[0]
    assert report.footprint(at=0).taps > 0


def test_parts_that_read_alike_keep_their_field_and_mix_nothing() -> None:
    run, shape = CASES["the same part twice"]
    report = atrous.inspect(Runs(run, near=near()), shape)
    assert (report.outputs[0].field[0].size, report.outputs[0].globals) == (3, ())


def test_tokens_that_stand_first_are_the_axis() -> None:
    layer = nn.TransformerEncoderLayer(4, 2, 8)
    report = atrous.inspect(layer, (6, 1, 4))
    assert report.outputs[0].is_global
    assert report.footprint().mask.shape == (6,)


def test_an_output_that_depends_on_nothing_keeps_its_place() -> None:
    class Two(nn.Module):
        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return torch.ones(3), x * 2

    report = atrous.inspect(Two(), (1, 2, 5))
    assert [layer.output_shape for layer in report.outputs] == [(3,), (1, 2, 5)]
    assert report.outputs[0].field == ()


@pytest.mark.parametrize("given", [(1, 1, 9.0, 9), "1,1,9,9", 7])
def test_an_input_that_is_no_shape_is_one_clear_error(given: object) -> None:
    with pytest.raises(atrous.ReadError, match="is no shape: give batch, channels and sizes"):
        atrous.inspect(nn.Conv2d(1, 1, 3), given)


def test_a_dict_without_the_names_of_forward_is_one_argument_and_said_to_be() -> None:
    with pytest.raises(atrous.ReadError, match="a dict with other names than those of its forward"):
        atrous.inspect(nn.Conv2d(1, 1, 3), {"x": (1, 1, 9, 9)})
    assert atrous.inspect(nn.Conv2d(1, 1, 3), {"input": (1, 1, 9, 9)}).complete


def test_arrays_and_numpy_integers_give_shapes() -> None:
    model = nn.Conv2d(1, 1, 3)
    for given in (tuple(np.array([1, 1, 9, 9])), np.zeros((1, 1, 9, 9)), [1, 1, 9, 9]):
        assert atrous.inspect(model, given).outputs[0].output_shape == (1, 1, 7, 7)


def test_a_network_read_already_is_not_taken_at_another_size() -> None:
    network = atrous.read("zoo:resnet18", (1, 3, 224, 224))
    with pytest.raises(atrous.ReadError, match="read its source again"):
        atrous.inspect(network, (1, 3, 64, 64))


@pytest.mark.parametrize("at", [(1.0, 2.0), "ab", 1.5])
def test_a_place_that_is_no_index_is_one_clear_error(at: object) -> None:
    report = atrous.inspect("stack:k3", (1, 1, 8, 8))
    with pytest.raises(atrous.GeometryError, match="is not made of whole numbers"):
        report.footprint(at=at)


def test_records_can_be_hashed_and_turned_into_json() -> None:
    import json

    report = atrous.inspect("stack:k3s2 ups2", (1, 1, 8, 8))
    assert len({report.layers[0], report.layers[1], report.layers[0]}) == 2
    foot = report.footprint(at=[np.int64(3), 4])
    data = json.loads(json.dumps(foot.to_dict()))
    assert np.array(data["counts"]).shape == tuple(data["size"])
    assert len(json.loads(report.to_json())["layers"][-1]["field"][0]["phases"]) == 2
    assert atrous.Window(3).to_dict()["kernel"] == 3
