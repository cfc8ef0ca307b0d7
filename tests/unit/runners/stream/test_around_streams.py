"""What lies around a stream and must not reach it: defaults, the batch, errors in its middle."""

from __future__ import annotations

from dataclasses import replace
from threading import Thread

import pytest
import torch
from torch import nn
from torch.nn import functional

import atrous
from atrous.errors import ArgumentError, ArgumentTypeError, AtrousError, UnsupportedError
from atrous.operators.kernels.stream import streams_natively
from atrous.runners.stream.native import stages
from tests.streamed import Written, noise, off, pushed, whole_of

ENGINES = ["torch", *(["native"] if streams_natively() else [])]
native_only = pytest.mark.skipif(not streams_natively(), reason="no native kernels here")


def conv(inputs, outputs, kernel=3, **rest):
    torch.manual_seed(0)
    return nn.Conv1d(inputs, outputs, kernel, **rest)


@pytest.mark.parametrize("engine", ENGINES)
def test_defaults_of_pytorch_that_change_later_do_not_reach_a_stream(engine):
    torch.manual_seed(0)
    model = Written(
        lambda x, a, b: b(a(x).transpose(1, 2))[0].transpose(1, 2),
        conv(2, 6), nn.LSTM(6, 5, batch_first=True),
    ).eval()  # fmt: skip
    live, x = atrous.stream(model, (1, 2, 40), engine=engine), noise(1, 2, 60)
    whole = whole_of(model, x)
    torch.set_default_dtype(torch.float64)
    try:
        made = [live.push(x[..., :30]), live.push(x[..., 30:])]
        assert {one.dtype for one in (*made, *live.state.tensors)} == {torch.float32}
        with torch.device("meta"):
            made.append(live.flush())
    finally:
        torch.set_default_dtype(torch.float32)
    assert off(torch.cat(made, 2), whole) < 2e-6


@native_only
def test_all_streams_of_slots_have_one_memory_of_weights_also_once_these_changed():
    model = nn.Sequential(conv(2, 6), nn.ReLU(), conv(6, 2)).eval()
    many, x = atrous.stream(model, (1, 2, 40)).slots(), noise(1, 2, 60)
    for name in ("ann", "bob"):
        many.open(name)
    for start in (0, 30):
        made = many.push(dict.fromkeys(many, x[..., start : start + 30]))
        at = {one._arena.program.constants for one in many._own.values()}
        assert len(at) == 1
        with torch.no_grad():
            model[0].weight.mul_(1.5)
            model[0].bias.mul_(1.5)
            model[2].weight.mul_(1 / 1.5)
        # Behind the first layers all is as before.
        assert (
            off(made["bob"][..., 4:], whole_of(model, x)[..., max(start - 4, 0) + 4 : start + 26])
            < 2e-6
        )


class Placed(nn.Module):
    """A table of 100 positions between two layers."""

    def __init__(self):
        super().__init__()
        self.table = nn.Parameter(noise(1, 2, 100))
        self.first, self.last = conv(2, 2, 5), conv(2, 2, 3)

    def forward(self, x):
        return self.last(self.first(x) + self.table[..., : x.shape[2] - 4])


def test_an_error_in_the_middle_of_a_push_leaves_the_stream_as_it_was():
    model, x = Placed().double().eval(), noise(1, 2, 130).double()
    live = atrous.stream(model, x[..., :40], axis=2)
    made = [live.push(x[..., :60])]
    for _ in range(2):
        with pytest.raises(UnsupportedError, match="its table has 100 positions"):
            live.push(x[..., 60:])
    made += [live.push(x[..., 60:90]), live.flush()]
    assert off(torch.cat(made, 2), whole_of(model, x[..., :90])) < 1e-12


LOOKING = {
    "roll": lambda x: torch.roll(x, 1),
    "fft_fftshift": lambda x: torch.fft.fftshift(x),
    "renorm": lambda x: torch.renorm(x, 2, 1, 0.5),
    "dropout": lambda x: functional.dropout(x, 0.5, True),
}


@pytest.mark.parametrize("name", LOOKING)
def test_calls_that_take_time_though_they_name_no_dimension_are_refused(name):
    with pytest.raises(UnsupportedError, match=name):
        atrous.stream(Written(LOOKING[name]), (1, 3, 40), axis=2)


def test_norms_by_their_own_statistics_are_streams():
    norm = nn.InstanceNorm1d(3, affine=True, track_running_stats=True).double().eval()
    norm.running_mean.uniform_(-1, 1)
    norm.running_var.uniform_(0.5, 2)
    x = noise(1, 3, 60).double()
    for running in (False, True):
        live = atrous.stream(norm, x, axis=2, running=running)
        assert off(pushed(live, x, [7, 53]), whole_of(norm, x)) < 1e-12


def test_positions_are_counted_in_the_type_that_they_have():
    model = Written(lambda x: x * torch.arange(0, x.shape[2] / 8, 0.125, dtype=x.dtype).sub(0.1))
    x = noise(1, 2, 60).double()
    try:
        live = atrous.stream(model, x, axis=2)
    except UnsupportedError:
        return  # Its end is no number of the length.
    assert off(pushed(live, x, [7, 53]), whole_of(model, x)) < 1e-12


BATCHED = {
    "a softmax over the batch": (lambda x, a: torch.softmax(a(x), 0), (3, 4, 40)),
    "the batch as channels": (lambda x, a: a(a(x).transpose(0, 1)), (4, 4, 40)),
    "the batch beside channels": (lambda x, a: a(x) + a(x).mean(1), (4, 4, 40)),
    "two in front of a batch of two": (
        lambda x, a: torch.stack([a(x), x[:, :, 2:]], 0).transpose(0, 1).flatten(1, 2), (2, 4, 40),
    ),
    "a mean of the batch": (lambda x, a: a(x) - a(x).mean(0, keepdim=True), (2, 4, 40)),
    "channels without a batch": (lambda x, _: torch.softmax(x, 0), (4, 40)),
}  # fmt: skip


@pytest.mark.parametrize("kind", BATCHED)
def test_a_batch_is_none_of_the_channels(kind):
    function, shape = BATCHED[kind]
    model, x = Written(function, conv(4, 4)).eval(), noise(*shape[:-1], 70)
    live = atrous.stream(model, shape, axis=len(shape) - 1)
    made = [live.push(part) for part in x.split([9, 1, 60], len(shape) - 1)]
    assert off(torch.cat([*made, live.flush()], live.output_axis), whole_of(model, x)) < 2e-6


def test_sums_whose_second_part_counts_nothing():
    model = Written(lambda x, a: torch.add(x[..., 2:], a(x), alpha=0), conv(2, 2)).eval()
    live, x = atrous.stream(model, (1, 2, 40), axis=2), noise(1, 2, 60)
    assert off(pushed(live, x, [9, 51]), x[..., 2:]) < 1e-6


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("stride", [1, 3])
def test_positions_that_are_counted_go_on_behind_the_flush(engine, stride):
    layer = conv(2, 3, 5, stride=stride)

    def counted(x, a):
        y = a(functional.pad(x, (1, 9)))
        return y / torch.arange(1, y.shape[2] + 1, dtype=y.dtype)

    model = Written(counted, layer).eval()
    live, x = atrous.stream(model, (1, 2, 40), engine=engine), noise(1, 2, 200)
    for cuts in ([200], [1, 1, 150, 48], [37] * 5 + [15]):
        live.reset()
        made = [live.push(part) for part in x.split(cuts, 2)]
        last = live.flush()
        assert last.shape[2] > 0
        assert off(torch.cat([*made, last], 2), whole_of(model, x)) < 2e-6


@native_only
def test_positions_are_counted_in_stages_too(monkeypatch):
    for bound, least in (("_FLOATS", 64), ("_HEAVY", 40), ("_ROWS", 40), ("_HELD", 1 << 14)):
        monkeypatch.setattr(stages, bound, least)
    layers = (
        conv(2, 24, 3, stride=4), nn.ConvTranspose1d(24, 8, 4, 4), conv(8, 8, 3), nn.LSTM(8, 6)
    )  # fmt: skip

    def counted(x, a, b, c, d):
        y = a(x)
        y = y / torch.arange(1, y.shape[2] + 1, dtype=y.dtype)
        y = c(b(y)).cumsum(2)
        y = y / torch.arange(1, y.shape[2] + 1, dtype=y.dtype)
        return d(y.permute(2, 0, 1))[0].permute(1, 2, 0)

    model = Written(counted, *layers).eval()
    live, x = atrous.stream(model, (1, 2, 60), engine="native"), noise(1, 2, 403)
    assert len(live._engine._stages) > 1
    whole = whole_of(model, x)
    for cuts in ([403], [1, 5, 97, 300], [50] * 8 + [3]):
        live.reset()
        assert off(pushed(live, x, cuts), whole) < 2e-6


@native_only
def test_recurrent_layers_take_channels_that_a_view_put_apart():
    def across(x, a, layer):
        y = a(x).view(4, 6, -1).permute(2, 1, 0).contiguous()
        return layer(y)[0].permute(1, 2, 0)

    for layer in (nn.LSTM(4, 5, 2), nn.GRU(4, 3), nn.RNN(4, 7)):
        model = Written(across, conv(2, 24), layer).eval()
        live, x = atrous.stream(model, (1, 2, 40), engine="native"), noise(1, 2, 90)
        assert off(pushed(live, x, [1, 30, 59]), whole_of(model, x)) < 2e-6


def test_a_file_that_cannot_be_written_is_one_error(tmp_path):
    live = atrous.stream(conv(1, 1), (1, 1, 40))
    with pytest.raises(ArgumentError, match=r"x\.onnx: cannot be written: No such file"):
        live.to_onnx(tmp_path / "nowhere" / "x.onnx")
    assert not list(tmp_path.iterdir())


class Same(nn.Module):
    """Pads that TensorFlow calls `same`, in the call where they are even."""

    def __init__(self):
        super().__init__()
        self.layer = conv(1, 2, 3, stride=2)

    def forward(self, x):
        both = 1 if x.shape[2] % 2 == 0 else 2
        if both == 2:
            return functional.conv1d(x, self.layer.weight, self.layer.bias, 2, 1)
        return self.layer(functional.pad(x, (0, 1)))


def test_pads_that_go_by_the_length_are_refused_also_where_they_are_in_the_call():
    with pytest.raises(UnsupportedError, match="layer: the padding of its conv1d depends on how"):
        atrous.stream(Same(), (1, 1, 60))


def padded_in_front(x):
    missing = -x.shape[2] % 3
    return functional.avg_pool1d(functional.pad(x, (missing, 0)) if missing else x, 3)


def cut_in_front(x):
    more = x.shape[2] % 3
    return functional.avg_pool1d(x[..., more:] if more else x, 3)


@pytest.mark.parametrize("function", [padded_in_front, cut_in_front])
@pytest.mark.parametrize("length", [60, 61])
def test_what_is_put_or_cut_in_front_at_some_lengths_alone_is_refused(function, length):
    with pytest.raises(UnsupportedError):
        atrous.stream(Written(function), (1, 2, length), axis=2)


@pytest.mark.parametrize("group", [2, 3, 4])
def test_frames_of_whole_groups_come_with_their_last_sample(group):
    def merged(x):
        count = x.shape[2] // group
        y = x[..., : count * group].reshape(1, 2, count, group)
        return y.permute(0, 1, 3, 2).reshape(1, 2 * group, count)

    live, x = atrous.stream(Written(merged), (1, 2, 84), axis=2), noise(1, 2, 65)
    assert live.latency == group - 1
    made = [live.push(one) for one in x.split(1, 2)]
    assert [one.shape[2] for one in made] == [int(i % group == 0) for i in range(1, 66)]
    assert off(torch.cat([*made, live.flush()], 2), whole_of(Written(merged), x)) < 1e-6


def test_positions_turn_by_tables_that_are_outer_products():
    def turned(x):
        angles = torch.outer(torch.arange(x.shape[1]).to(x.dtype), x.new_tensor([1.0, 0.1, 0.01]))
        return torch.cat([x * angles.cos(), x * angles.sin()], 2)

    live, x = atrous.stream(Written(turned), (1, 40, 3), axis=1), noise(1, 60, 3)
    made = [live.push(part) for part in x.split([7, 1, 52], 1)]
    assert off(torch.cat([*made, live.flush()], 1), turned(x)) < 2e-6


def unrolled(x, cell):
    state, made = x.new_zeros(1, 4), []
    for place in range(x.shape[1]):
        state = cell(x[:, place], state)
        made.append(state)
    return torch.stack(made, 1)


def packed(x, layer):
    given = nn.utils.rnn.pack_padded_sequence(x, torch.tensor([x.shape[1]]), batch_first=True)
    return nn.utils.rnn.pad_packed_sequence(layer(given)[0], batch_first=True)[0]


def test_loops_of_cells_and_packed_sequences_are_refused():
    with pytest.raises(UnsupportedError, match="a loop over time; recurrent layers"):
        atrous.stream(Written(unrolled, nn.GRUCell(3, 4)), (1, 12, 3), axis=1)
    with pytest.raises(AtrousError):
        atrous.stream(Written(packed, nn.GRU(3, 4, batch_first=True)), (1, 12, 3), axis=1)


def test_states_slots_and_arguments_of_other_kinds_are_one_error_each(tmp_path):
    model, x = conv(2, 2, 5), noise(1, 2, 40)
    live = atrous.stream(model, (1, 2, 40))
    live.push(x)
    state = live.state
    for change in (
        {"count": 1.5}, {"count": "a"}, {"count": None}, {"kept": None}, {"cells": None},
        {"kept": ("a",) * len(state.kept)}, {"others": None}, {"cells": (None,) * len(state.cells)},
        {"kept": tuple(one if one is None else one.to("meta") for one in state.kept)},
        {"kept": tuple(one if one is None else one.to_sparse() for one in state.kept)},
    ):  # fmt: skip
        with pytest.raises(ArgumentError, match="the state is one of another model"):
            live.state = replace(state, **change)
    for axis in ("t", 2.0, True, (2.0,)):
        with pytest.raises(ArgumentTypeError, match="is no dimension; give its number"):
            atrous.stream(model, (1, 2, 40), axis=axis)
    with pytest.raises(ArgumentTypeError, match="chunks are a list; give a dict by keys"):
        live.slots().push([x])
    with pytest.raises(ArgumentTypeError, match="block='2' is no number of samples"):
        live.to_onnx(tmp_path / "x.onnx", "2")
    rough = atrous.stream(conv(2, 2).bfloat16(), (1, 2, 40))
    rough.push(x.bfloat16())
    with pytest.raises(ArgumentTypeError, match="its state is bfloat16"):
        rough.state_arrays()


@pytest.mark.parametrize("engine", ENGINES)
def test_types_are_those_of_the_recording_also_under_autocast(engine):
    model, x = nn.Sequential(conv(2, 4, 5), nn.ReLU(), conv(4, 2)).eval(), noise(1, 2, 60)
    live = atrous.stream(model, (1, 2, 40), engine=engine)
    with torch.autocast("cpu", torch.bfloat16):
        found = pushed(live, x, [3, 40, 17])
    assert off(found, whole_of(model, x)) < 1e-6


def test_slots_may_be_used_by_several_threads():
    model = nn.Sequential(conv(2, 4, 5, padding=2), nn.ReLU(), conv(4, 2)).eval()
    clips = noise(4, 1, 2, 400)
    whole = [whole_of(model, x) for x in clips]
    for most in (None, 2):
        many, found = atrous.stream(model, (1, 2, 40)).slots(most), {}

        def run(key, x, many=many, found=found):
            many.open(key)
            made = [many.push({key: part})[key] for part in x.split(29, 2)]
            found[key] = torch.cat([*made, many.close(key)], 2)

        threads = [Thread(target=run, args=pair) for pair in enumerate(clips)]
        for one in threads:
            one.start()
        for one in threads:
            one.join()
        assert all(off(found[key], whole[key]) < 2e-6 for key in range(4))


@pytest.mark.parametrize("factor", [1 / 4, 1 / 3, 1 / 5, 1 / 2])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_resizes_to_less_are_as_late_as_planned_and_invent_nothing(factor, stride):
    """An output is there with its last sample, or the one without which clips have no such output.

    A place between two samples needs both; a third or fifth of the samples lies on samples alone.
    """

    class Reduced(nn.Conv1d):
        def forward(self, x):
            return functional.interpolate(super().forward(x), scale_factor=factor, mode="linear")

    model = Reduced(1, 1, 3, stride, padding=1).double().eval()
    x = torch.randn(1, 1, 60 * stride, dtype=torch.float64)
    (plan,) = atrous.plan_stream(model, x.shape).outputs
    live = atrous.stream(model, x)
    assert live.latency == plan.latency
    with torch.no_grad():
        lengths = [model(x[..., :n]).shape[-1] for n in range(6 * stride, 60 * stride)]
    assert [plan.length(n) for n in range(6 * stride, 60 * stride)] == lengths
    pushed = [live.push(x[..., n : n + 1]).shape[-1] for n in range(60 * stride)]
    pairs = zip(pushed, [plan.after(n) for n in range(60 * stride + 1)], strict=False)
    total = 0
    for at, (count, before) in enumerate(pairs):
        assert total == before
        total += count
        assert at < 6 * stride or total <= model(x[..., : at + 1]).shape[-1]
