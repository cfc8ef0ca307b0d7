"""Plans of streams: delays, state, lengths, contexts, and what is refused."""

from fractions import Fraction

import pytest
import torch
from torch import nn
from torch.nn import functional

import atrous
from atrous.network import Builder
from atrous.readers.torch import reader

CLIP = (1, 1, 200)


def test_branches_of_different_delay_are_aligned_before_they_join():
    b = Builder("branches")
    x = b.input("x", (1, 2, 100))
    wide, narrow = (
        b.conv(x, 2, 9, padding=4, name="wide"),
        b.conv(x, 2, 3, padding=1, name="narrow"),
    )
    plan = atrous.plan_stream(b.build(b.join(wide, narrow)))
    assert [(join.layer, dict(join.delays)) for join in plan.joins] == [
        ("add", {"wide": 0, "narrow": 3})
    ]
    assert plan.latency == 4
    # The input is kept once, for the wider window; the faster branch waits.
    assert [(one.layer, one.positions, one.nbytes) for one in plan.kept] == [
        ("wide", 8, 64),
        ("add", 3, 24),
    ]
    assert plan.state_bytes == 88


def test_a_causal_stride_pads_its_extent_less_its_stride_and_waits_for_its_hop():
    plan = atrous.plan_stream("stack:k8s4p(4,3)", CLIP)
    assert (plan.causal, plan.hop, plan.latency, plan.past) == (True, 4, 3, 4)
    assert [plan.after(n)[0] for n in (3, 4, 7, 8)] == [0, 1, 1, 2]
    # Padded by its extent less one it is as early, and its outputs lie three samples off.
    late = atrous.plan_stream("stack:k8s4p(7,0)", CLIP)
    assert (late.causal, late.latency, late.past) == (True, 0, 7)


@pytest.mark.parametrize("rate", [16000, Fraction(44100), 86.13])
def test_lengths_are_in_milliseconds_at_a_rate(rate):
    plan = atrous.plan_stream("stack:k5", CLIP)
    assert plan.ms(2) is None
    assert plan.at_rate(rate).ms(2) == pytest.approx(2000 / float(rate))
    with pytest.raises(atrous.ArgumentError, match="is no sample rate"):
        plan.at_rate(0)


def test_a_recurrent_layer_keeps_its_hidden_state_whatever_its_depth():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm = nn.LSTM(3, 5, 2, batch_first=True)

        def forward(self, x):
            return self.lstm(x.transpose(1, 2))[0]

    plan = atrous.plan_stream(Net(), (1, 3, 40))
    (kept,) = plan.kept
    assert (kept.hidden, kept.channels, kept.nbytes) == (True, 2 * 2 * 5, 80)
    assert plan.carries == ("lstm",)
    with pytest.raises(atrous.UnsupportedError, match=r"lstm: carries all of the past on"):
        plan.context(8)


def test_a_chunk_must_be_of_whole_hops():
    plan = atrous.plan_stream("stack:k3s2 k3s3", CLIP)
    with pytest.raises(atrous.ArgumentError, match=r"no multiple of the hop, 6.*give 6 or 12"):
        plan.context(7)
    assert plan.context(6).to_dict()["outputs"][0]["keep"] == 1
    with pytest.raises(atrous.ArgumentError, match="chunk 99 is none of a clip of 200"):
        plan.context(6).cut(99, 200)


class Cropped(nn.Module):
    def forward(self, x):
        return x[..., :-5]


class Same(nn.Module):
    """Pads by half of what the length lacks, as some frameworks do."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(1, 1, 3, 2)

    def forward(self, x):
        more = 1 + x.shape[-1] % 2
        return self.conv(functional.pad(x, (more // 2, more - more // 2)))


class Sized(nn.Module):
    def forward(self, x):
        return functional.interpolate(x, 50)


class Backwards(nn.Module):
    def forward(self, x):
        return x.flip(-1)


class Circular(nn.Module):
    def forward(self, x):
        return functional.pad(x, (3, 0), mode="circular")


def test_what_is_cut_off_the_end_is_held_back():
    plan = atrous.plan_stream(Cropped(), CLIP)
    assert (plan.latency, plan.after(20), plan.flushed(20)) == (5, (15,), (15,))


@pytest.mark.parametrize(
    ("model", "says"),
    [
        (Same(), "depend on the length of the clip"),
        (Sized(), "depend on the length of the clip"),
        (Backwards(), "lets all positions see one another|runs backwards|reads"),
        (Circular(), "wraps round the end"),
        (nn.Conv1d(1, 1, 200), "spans the whole clip of 200 along t; give a longer clip"),
        (nn.AdaptiveAvgPool1d(8), "depend on the length of the clip"),
        (nn.InstanceNorm1d(1), "lets all positions see one another"),
        (nn.Sequential(nn.Conv1d(1, 1, 3), nn.Flatten(), nn.Linear(198, 2)), "see one another"),
    ],
)
def test_what_cannot_run_before_the_clip_ends_is_named(model, says):
    with pytest.raises(atrous.UnsupportedError, match=says):
        atrous.plan_stream(model, CLIP)


def test_an_axis_is_asked_for_where_there_are_several():
    with pytest.raises(atrous.ArgumentError, match="along h, w; say which is time"):
        atrous.plan_stream("stack:k3", (1, 1, 20, 30))
    by_name = atrous.plan_stream("stack:k3x2", (1, 1, 20, 30), axis="w")
    by_dimension = atrous.plan_stream("stack:k3x2", (1, 1, 20, 30), axis=-1)
    assert by_name.to_dict() == by_dimension.to_dict()
    assert by_name.kept[0].nbytes == 2 * 20 * 4
    for axis, says in ((1, "holds no positions"), (9, "is no dimension"), ("t", "is none of")):
        with pytest.raises(atrous.ArgumentError, match=says):
            atrous.plan_stream("stack:k3", (1, 1, 20, 30), axis=axis)
    with pytest.raises(atrous.ArgumentError, match="no positions along any axis"):
        atrous.plan_stream(nn.Linear(4, 2), (1, 4))


def test_an_onnx_file_is_planned_at_the_sizes_that_it_takes(tmp_path):
    model = nn.Sequential(nn.Conv1d(1, 2, 4, 2, 1), nn.Conv1d(2, 1, 3, padding=1))
    path = tmp_path / "net.onnx"
    torch.onnx.export(model, (torch.zeros(CLIP),), path, dynamo=False, input_names=["x"])
    plan, other = atrous.plan_stream(path), atrous.plan_stream(model, CLIP)
    assert (plan.latency, plan.hop, plan.left) == (other.latency, other.hop, other.left)


class Conditioned(nn.Module):
    """Two inputs along time, one that has none, and outputs of two strides."""

    def __init__(self):
        super().__init__()
        self.enter = nn.Conv1d(1, 2, 3, padding=1)

    def forward(self, x, along, whole):
        y = self.enter(x) + along + whole
        return y, functional.avg_pool1d(y, 4)


def test_several_inputs_and_outputs_of_several_strides_are_planned_together():
    plan = atrous.plan_stream(Conditioned(), ((1, 1, 64), (1, 2, 64), (1, 2, 1)))
    assert [one.time for one in plan.inputs] == [2, 2, None]
    assert [(one.stride, one.latency) for one in plan.outputs] == [(1, 1), (4, 4)]
    assert (plan.hop, plan.after(9), plan.flushed(10)) == (4, (8, 2), (10, 2))
    assert plan.context(8).keep == (8, 2)
    assert "add" in str(plan.context(8))


def test_a_plan_reads_a_module_without_the_run_that_tells_its_memory(monkeypatch):
    def run(*_: object) -> None:
        raise AssertionError("it ran")

    monkeypatch.setattr(reader, "eager_run", run)
    assert atrous.plan_stream(torch.nn.Conv1d(1, 1, 3), (1, 1, 40)).state_bytes == 8
    with pytest.raises(AssertionError, match="it ran"):
        atrous.read(torch.nn.Conv1d(1, 1, 3), (1, 1, 40))
