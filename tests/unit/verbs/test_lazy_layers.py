"""Every verb takes layers without sizes: on a copy, which has the sizes that the input gives it."""

from itertools import chain

import pytest
import torch
from torch import nn

import atrous
from atrous.readers.source import sized
from atrous.verbs.bench import module_of

SHAPE = (2, 3, 12, 12)


class Head(nn.Module):
    """Embeds indices, so that a shape stands for whole numbers."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(5, 4)
        self.last = nn.LazyLinear(2)

    def forward(self, x):
        return self.last(self.table(x))


def lazy():
    return nn.Sequential(
        nn.LazyConv2d(4, 3, stride=2, padding=1),
        nn.LazyBatchNorm2d(affine=False),
        nn.ReLU(),
        nn.LazyConv2d(6, 3, padding=1),
        nn.LazyInstanceNorm2d(affine=True),
    )


def plain():
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, stride=2, padding=1),
        nn.BatchNorm2d(4, affine=False),
        nn.ReLU(),
        nn.Conv2d(4, 6, 3, padding=1),
        nn.InstanceNorm2d(6, affine=True, track_running_stats=True),
    )


VERBS = {
    "read": lambda m: atrous.read(m, SHAPE).macs,
    "inspect": lambda m: str(atrous.inspect(m, SHAPE)),
    "training": lambda m: str(atrous.training(m, SHAPE, optimizer="adamw")),
    "sizes": lambda m: str(atrous.sizes(m, SHAPE)),
    "convert": lambda m: [str(e) for e in atrous.convert(m, 1, input=SHAPE, outputs="3").edits],
    "audit": lambda m: atrous.audit(m, m, input=SHAPE).verdict,
    "effective": lambda m: atrous.effective(m, SHAPE, layer="3", samples=1, weights="random").size,
    "bench": lambda m: sorted(module_of(m, SHAPE)[0].state_dict()),
}


def state_of(model):
    """What a model holds, its modes, and the numbers that are drawn next."""
    tensors = chain(model.named_parameters(), model.named_buffers())
    modes = [part.training for part in model.modules()]
    return [(name, type(t)) for name, t in tensors], modes, torch.get_rng_state().tolist()


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_answers_as_for_the_twin_with_sizes_and_leaves_the_model_as_it_was(verb):
    model = lazy()
    model[2].eval()
    before = state_of(model)
    found = VERBS[verb](model)
    assert state_of(model) == before
    assert found == VERBS[verb](plain())


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_optimize_takes_a_copy_that_weights_can_be_loaded_into():
    model, twin = nn.Sequential(nn.LazyConv2d(4, 3), nn.ReLU()), nn.Sequential(nn.Conv2d(3, 4, 3))
    model.eval()
    example = torch.randn(1, 3, 8, 8)
    before = state_of(model)
    fast = atrous.optimize(model, example)
    assert state_of(model) == before
    fast.load_state_dict(twin.state_dict())
    with torch.no_grad():
        assert torch.allclose(fast(example), twin(example).relu(), atol=1e-5)


def test_two_lazy_models_have_the_same_first_weights():
    dilated = nn.Sequential(
        nn.LazyConv2d(4, 3, padding=1), nn.LazyConv2d(2, 3, padding=2, dilation=2)
    )
    strided = nn.Sequential(
        nn.LazyConv2d(4, 3, stride=2, padding=1), nn.LazyConv2d(2, 3, padding=1)
    )
    found = atrous.audit(strided, dilated, input=SHAPE)
    assert found.verdict == "exact"
    assert not any("other weights" in note for note in found.notes)


def test_a_linear_layer_has_the_size_of_the_input_that_is_given_and_the_modes_stay():
    model = nn.Sequential(nn.Conv1d(1, 2, 3), nn.Dropout().eval(), nn.Flatten(), nn.LazyLinear(5))
    made = sized(model, (1, 1, 6))
    assert made[3].in_features == 8
    assert [part.training for part in made] == [True, False, True, True]
    assert sized(made, (1, 1, 9)) is made


def test_first_weights_are_the_same_whatever_was_drawn_before_and_nothing_is_trained():
    norm = nn.Sequential(nn.Conv2d(3, 4, 1), nn.LazyBatchNorm2d(affine=False))
    for model, held in ((lazy(), "3.weight"), (norm, "1.running_mean")):
        made = []
        for seed in (1, 2):
            torch.manual_seed(seed)
            made.append(sized(model, torch.ones(SHAPE)).state_dict())
        assert torch.equal(made[0][held], made[1][held])
    assert not made[0]["1.running_mean"].any()


def test_sizes_are_looked_for_without_giving_the_model_any():
    model = nn.Sequential(nn.Conv1d(1, 2, 3), nn.LazyInstanceNorm1d(affine=True))
    before = state_of(model)
    assert str(atrous.sizes(model, (1, 1, 6))).splitlines()[-1]
    assert state_of(model) == before


def test_a_shape_that_stands_for_indices_gives_sizes_too():
    assert atrous.inspect(Head(), (1, 7)).params == 5 * 4 + 4 * 2 + 2
    assert atrous.training(Head(), torch.zeros(1, 7, dtype=torch.int64)).later.parameters == 30 * 4


def test_a_model_that_cannot_be_copied_is_told_from_one_that_does_not_run():
    class Locked(nn.LazyLinear):
        def __deepcopy__(self, memo):
            raise TypeError("it holds a lock")

    with pytest.raises(atrous.ReadError, match=r"cannot be copied \(it holds a lock\); call it"):
        atrous.training(nn.Sequential(Locked(3)), (1, 4))
    with pytest.raises(atrous.ReadError, match="on this one it does not run: "):
        atrous.training(nn.Sequential(nn.LazyConv2d(4, 3), nn.Conv2d(5, 1, 1)), SHAPE)
