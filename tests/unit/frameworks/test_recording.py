"""A recording of a module has the calls that it makes, by module, and leaves the module alone."""

from __future__ import annotations

import copy
import threading

import pytest
import torch
from torch import nn

import atrous
from atrous.frameworks.recording import ValuesNeededError, named_leaves, recorded


def calls(recording):
    return [
        (
            node.target.overloadpacket.__name__,
            *(path for path, _ in node.meta["nn_module_stack"].values()),
        )
        for node in recording.graph.nodes
        if node.op == "call_function"
    ]


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.act = nn.ReLU()

    def forward(self, x):
        return self.act(self.conv(x)) + x


@pytest.mark.parametrize("run", [False, True])
def test_calls_are_noted_as_the_code_makes_them_in_the_module_that_makes_them(run):
    model = nn.Sequential(Block(), nn.Flatten(), nn.Linear(3 * 16, 2)).eval()
    found = recorded(model, (torch.zeros(1, 3, 4, 4),), {}, run=run)
    assert calls(found) == [
        ("conv2d", "0.conv"),
        ("relu", "0.act"),
        ("add", "0"),
        ("flatten", "1"),
        ("linear", "2"),
    ]
    assert found.inputs == ("input",)
    assert {held.name for held in found.stored.values()} == {
        "0.conv.weight",
        "0.conv.bias",
        "2.weight",
        "2.bias",
    }


@pytest.mark.parametrize("run", [False, True])
def test_layers_of_a_sliced_list_are_called_what_the_model_calls_them(run):
    class Sliced(nn.Module):
        def __init__(self):
            super().__init__()
            self.model = nn.Sequential(Block(), Block(), nn.Identity(), Block())
            self.keep = self.model[1]

        def forward(self, x):
            for layer in self.model[:2]:
                x = layer(x)
            return self.model[2:](x)

    model = Sliced().eval()
    names = dict(model.named_modules())
    found = calls(recorded(model, (torch.zeros(1, 3, 4, 4),), {}, run=run))
    assert len(found) == 9
    assert {path for _, path in found} <= set(names)
    report = atrous.inspect(model, (1, 3, 4, 4))
    assert report["model.3.conv"].field[0].size == 7


def test_a_module_that_its_parent_has_under_two_names_is_called_by_either():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = self.b = nn.Conv2d(1, 1, 3)

        def forward(self, x):
            return self.b(self.a(x))

    report = atrous.inspect(Twice(), (1, 1, 9, 9))
    assert [layer.name for layer in report.layers] == ["a", "b"]


@pytest.mark.parametrize("run", [False, True])
def test_the_module_is_left_as_it_was(run):
    class Remembers(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("count", torch.zeros(2))
            self.grid = None
            self.cache = {}
            self.seen = []

        def forward(self, x):
            if self.grid is None:
                self.grid = torch.arange(x.shape[-1])
            self.cache["x"] = x
            self.seen.append(x)
            self.count += 1
            self.total = x.sum()
            return x + self.grid + self.count[0]

    model = Remembers().eval()
    before = copy.deepcopy(model)
    recorded(model, (torch.ones(1, 3),), {}, run=run)
    assert (model.grid, model.cache, model.seen) == (None, {}, [])
    assert not hasattr(model, "total")
    assert torch.equal(model.count, before.count)
    assert torch.equal(model(torch.ones(1, 3)), before(torch.ones(1, 3)))


def test_nothing_is_put_back_wrongly_when_the_module_raises():
    class Raises(nn.Module):
        def forward(self, x):
            self.held = x
            raise KeyError("held")

    model = Raises()
    with pytest.raises(KeyError, match="held"):
        recorded(model, (torch.ones(1),), {})
    assert not hasattr(model, "held")
    assert not torch.nn.modules.module._global_forward_hooks
    assert not torch.nn.modules.module._global_forward_pre_hooks


def test_numbers_that_depend_on_the_input_are_asked_for_with_the_place():
    class Asks(nn.Module):
        def forward(self, x):
            return x[: int(x.sum())]

    with pytest.raises(ValuesNeededError, match="in Asks"):
        recorded(Asks(), (torch.ones(3),), {})
    recorded(nn.Sequential(Asks()), (torch.ones(3),), {}, run=True)


def test_numbers_that_do_not_depend_on_the_input_are_at_hand():
    class Knows(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("kernel", torch.tensor(4))
            self.stride = torch.tensor([1])

        def forward(self, x):
            pad = self.kernel - self.stride[0]
            extra = torch.zeros(3, dtype=torch.int64)
            extra[1:] = 2
            assert int(extra.nonzero().sum()) == 3
            assert (x.new_zeros(2) == 0).all()
            return nn.functional.pad(x, (int(pad), int(extra.sum()) - 4))

    report = atrous.inspect(nn.Sequential(Knows(), nn.Conv1d(4, 8, 4)), (1, 4, 96))
    assert report.outputs[0].output_shape == (1, 8, 96)
    assert report.outputs[0].field[0].start == -3


def test_a_constant_that_gets_a_part_of_the_input_is_no_constant():
    class Overwritten(nn.Module):
        def forward(self, x):
            flags = torch.zeros(4)
            flags[0] = x.sum()
            return x + 1 if flags.sum() > 0 else x

    with pytest.raises(ValuesNeededError):
        recorded(Overwritten(), (torch.ones(3),), {})


def test_other_threads_run_their_modules_undisturbed():
    other, stop, ran = Block().eval(), threading.Event(), threading.Event()

    def run():
        with torch.no_grad():
            while not stop.is_set():
                other(torch.zeros(1, 3, 4, 4))
                ran.set()

    thread = threading.Thread(target=run)
    thread.start()
    ran.wait()
    try:
        model = nn.Sequential(*(Block() for _ in range(8))).eval()
        for _ in range(5):
            found = calls(recorded(model, (torch.zeros(1, 3, 4, 4),), {}))
            assert found == [
                (op, path.format(i))
                for i in range(8)
                for op, path in [("conv2d", "{}.conv"), ("relu", "{}.act"), ("add", "{}")]
            ]
    finally:
        stop.set()
        thread.join()


def test_leaves_are_named_after_the_parameters_that_take_them():
    class Takes(nn.Module):
        def forward(self, images, *more, mask=None, **extra):
            return images, more, mask, extra

    given = named_leaves(Takes(), ([1, {"a b": 2}], 3), {"mask": 4, "ids": 5})
    assert [name for name, _ in given] == [
        "images_0",
        "images_1_a_b",
        "more_0",
        "mask",
        "ids",
    ]
