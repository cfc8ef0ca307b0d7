"""An exported program asked at another size: every verb names the input and its sizes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.export import Dim

import atrous
from atrous.frameworks.exported import unfit


def network() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(4, 4, 3, 2, 1)).eval()


@pytest.fixture(scope="module")
def program() -> torch.export.ExportedProgram:
    return torch.export.export(network(), (torch.zeros(1, 3, 32, 32),))


@pytest.fixture(scope="module")
def ranged() -> torch.export.ExportedProgram:
    sizes = ({2: 4 * Dim("h", min=2, max=20), 3: Dim("w", min=5, max=60)},)
    return torch.export.export(network(), (torch.zeros(1, 3, 32, 32),), dynamic_shapes=sizes)


OTHER = (1, 3, 40, 36)
PROGRAM_VERBS: dict[str, Callable[[Any], Any]] = {
    "inspect": lambda source: atrous.inspect(source, OTHER),
    "compare": lambda source: atrous.compare([source, network()], input=OTHER),
    "audit": lambda source: atrous.audit(source, network(), input=OTHER),
    "effective": lambda source: atrous.effective(source, OTHER),
}
MODULE_VERBS: dict[str, Callable[[Any], Any]] = {
    **PROGRAM_VERBS,
    "convert": lambda source: atrous.convert(source, 1, input=OTHER),
    "optimize": lambda source: atrous.optimize(source, torch.zeros(OTHER)),
    "training": lambda source: atrous.training(source, OTHER),
}
SAID = (
    "input 'input' was exported for 1x3x32x32, not for 1x3x40x36; give a size that it was exported "
    "for, or the module that it was exported from, or export that again, with dynamic_shapes for "
    "dimensions 2 and 3"
)


@pytest.mark.parametrize("verb", PROGRAM_VERBS)
def test_every_verb_says_what_a_program_was_exported_for(verb: str, program: Any) -> None:
    with pytest.raises(atrous.AtrousError) as caught:
        PROGRAM_VERBS[verb](program)
    assert SAID in str(caught.value)


@pytest.mark.parametrize("verb", MODULE_VERBS)
def test_every_verb_says_what_a_programs_module_was_exported_for(verb: str, program: Any) -> None:
    with pytest.raises(atrous.AtrousError) as caught:
        MODULE_VERBS[verb](program.module())
    assert SAID in str(caught.value)


@pytest.mark.parametrize(
    ("given", "fits"),
    [
        ((1, 3, 8, 60), True),
        ((1, 3, 84, 60), False),
        ((1, 3, 8, 4), False),
        ((2, 3, 8, 60), False),
        ((1, 4, 8, 60), False),
        ((3, 8, 60), False),
    ],
)
def test_a_size_fits_where_the_program_runs_at_it(given: Any, fits: bool, ranged: Any) -> None:
    run = ranged.module()
    if fits:
        run(torch.zeros(given))
    else:
        with pytest.raises((AssertionError, IndexError)):
            run(torch.zeros(given))
    for held in (ranged, run):
        assert (not unfit(held, [given])) == fits
        assert fits or "1x3x(8 to 80)x(5 to 60), not for " in unfit(held, [given])


def test_channels_are_not_to_be_made_dynamic(program: Any) -> None:
    assert "dynamic_shapes" not in unfit(program, [(1, 4, 32, 32)])
    assert unfit(program, [(2, 4, 32, 32)]).endswith("with dynamic_shapes for dimension 0")
    assert not unfit(network(), [(1, 4, 32, 32)])


def test_the_second_input_is_named_as_it_is_called() -> None:
    class Masked(nn.Module):
        def forward(self, image: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
            return image * mask

    given = (torch.zeros(1, 1, 9), torch.zeros(1, 1, 9))
    made = torch.export.export(Masked(), given)
    with pytest.raises(atrous.ReadError, match="input 'mask' was exported for 1x1x9, not for 1x1x"):
        atrous.inspect(made, [(1, 1, 9), (1, 1, 1)])


def test_the_module_of_a_program_is_read_and_left_as_it_was(program: Any) -> None:
    module = program.module()
    modes = [part.training for part in module.modules()]
    assert [layer.name for layer in atrous.inspect(module, (1, 3, 32, 32)).layers]
    assert [part.training for part in module.modules()] == modes


def test_the_sizes_of_a_program_are_found_from_far_away(program: Any) -> None:
    found = atrous.sizes(program, (1, 3, 300, 300))
    assert [n for n in range(1, 60) if found.legal(n)] == [32]
    assert "was exported for 1x3x32x32" in found.why(300)
