"""Inputs by name, in lists and dicts, of whole numbers, and plain values beside them."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import atrous
from atrous import ReadError

SHAPE = (1, 1, 8, 8)


class Masked(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 1, 3, padding=1)

    def forward(self, x, *, mask=None, double=False):
        y = self.conv(self.conv(x) if double else x)
        return y if mask is None else y * mask


class OfDict(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 1, 3)

    def forward(self, batch):
        return {"map": self.conv(batch["image"]), "size": 3}


class OfList(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 1, 3)

    def forward(self, images, scale=1.0):
        return [self.conv(image[None]) * scale for image in images]


def names(report):
    return [tensor.name for tensor in report.network.inputs]


def sizes(report):
    return [axis.size for axis in report.outputs[0].field]


def test_inputs_are_given_by_the_names_that_forward_has():
    report = atrous.inspect(Masked(), {"x": SHAPE, "mask": torch.ones(1, 1, 1, 1), "double": True})
    assert names(report) == ["x", "mask"]
    assert sizes(report) == [5, 5]
    assert sizes(atrous.inspect(Masked(), {"x": SHAPE})) == [3, 3]


def test_a_name_that_forward_has_not_is_refused_with_those_that_it_has():
    with pytest.raises(ReadError, match=r"Masked: no input is called 'y'; its forward takes x, ma"):
        atrous.inspect(Masked(), {"y": SHAPE})


@pytest.mark.parametrize(
    "given", [{"image": SHAPE}, ({"image": SHAPE},), ({"image": torch.zeros(SHAPE)},)]
)
def test_a_dict_may_be_the_argument(given):
    report = atrous.inspect(OfDict(), given)
    assert names(report) == ["batch_image"]
    assert sizes(report) == [3, 3]


def test_a_list_may_be_the_argument():
    report = atrous.inspect(OfList(), ([(1, 8, 8), (1, 9, 7)],))
    assert names(report) == ["images_0", "images_1"]
    assert [output.output_shape for output in report.outputs] == [(1, 1, 6, 6), (1, 1, 7, 5)]


def test_several_shapes_are_several_arguments_as_before():
    class Two(nn.Module):
        def forward(self, a, b):
            return a + b

    assert names(atrous.inspect(Two(), [(1, 4), (1, 4)])) == ["a", "b"]


def test_ids_are_whole_numbers_where_a_table_is_looked_up():
    class Tokens(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = nn.Embedding(9, 4)
            self.conv = nn.Conv1d(4, 4, 3)

        def forward(self, ids, scale):
            return self.conv(self.table(ids).transpose(1, 2)) * scale

    report = atrous.inspect(Tokens(), ((1, 20), (1, 4, 1)))
    assert report.complete
    assert [tensor.itemsize for tensor in report.network.inputs] == [8, 4]
    assert sizes(report) == [3]


@pytest.mark.parametrize("given", [SHAPE, torch.zeros(SHAPE)], ids=["shape", "example"])
def test_layers_that_take_their_sizes_from_the_first_input_get_them_on_a_copy(given):
    lazy = nn.Sequential(nn.LazyConv2d(4, 3, dilation=2), nn.LazyBatchNorm2d(), nn.Flatten(2))
    plain = nn.Sequential(nn.Conv2d(SHAPE[1], 4, 3, dilation=2), nn.BatchNorm2d(4), nn.Flatten(2))
    report, twin = atrous.inspect(lazy, given), atrous.inspect(plain, given)
    assert (report.macs, report.params, sizes(report)) == (twin.macs, twin.params, sizes(twin))
    assert all(isinstance(p, nn.UninitializedParameter) for p in lazy[0].parameters())
    assert lazy.training


def test_lazy_layers_that_do_not_run_on_what_is_given_say_so():
    model = nn.Sequential(nn.LazyConv2d(4, 3), nn.Conv2d(5, 1, 1))
    with pytest.raises(ReadError, match="take their sizes from the first input that they see, and"):
        atrous.inspect(model, SHAPE)


def test_a_first_state_may_be_an_input_or_be_computed():
    class Stateful(nn.Module):
        def __init__(self, computed):
            super().__init__()
            self.lstm = nn.LSTM(4, 6, batch_first=True)
            self.start = nn.Linear(4, 6)
            self.computed = computed

        def forward(self, x, h=None, c=None):
            if self.computed:
                h = self.start(x[:, 0])[None]
                c = torch.zeros_like(h)
            return self.lstm(x, (h, c))[0]

    report = atrous.inspect(Stateful(False), {"x": (1, 10, 4), "h": (1, 1, 6), "c": (1, 1, 6)})
    assert report.complete, report.opaque
    assert names(report) == ["x", "h", "c"]
    report = atrous.inspect(Stateful(True), (1, 10, 4))
    assert report.complete, report.opaque
