"""PyTorch's habits: what it says inside concerns nobody, and what it holds is put back."""

from __future__ import annotations

import logging

import pytest
import torch
from torch import nn
from torch.export import _trace

import atrous
from atrous.frameworks.torch import quiet, seed_all, unfused, without_stacks


class Branching(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 1, 3, padding=1)

    def forward(self, x):
        return self.conv(x) if x.sum() > 0 else x


def test_a_graph_that_an_export_gives_up_on_is_not_dumped(capfd):
    assert atrous.inspect(Branching(), (1, 1, 8, 8)).network.ran
    caught = capfd.readouterr()
    assert caught.out == ""
    assert caught.err == ""


def test_without_the_silence_the_dump_is_there(capfd):
    with pytest.raises(Exception, match="data-dependent"):
        torch.export.export(Branching(), (torch.ones(1, 1, 8, 8),), strict=False)
    assert "def forward" in capfd.readouterr().err


@pytest.mark.parametrize("raised", [None, ValueError])
def test_loggers_and_prints_are_put_back(raised):
    logger = logging.getLogger("torch")
    level = logger.level
    try:
        with quiet():
            assert logger.level == logging.CRITICAL
            with quiet():
                assert logger.level == logging.CRITICAL
            assert logger.level == logging.CRITICAL
            assert "print" in vars(_trace)
            if raised:
                raise raised
    except ValueError:
        pass
    assert logger.level == level
    assert "print" not in vars(_trace)


def test_a_seed_draws_what_torch_draws():
    torch.manual_seed(3)
    wanted = torch.rand(4)
    seed_all(3)
    assert torch.equal(torch.rand(4), wanted)


def test_the_fused_encoder_layer_is_put_back():
    before = torch.backends.mha.get_fastpath_enabled()
    with unfused():
        assert not torch.backends.mha.get_fastpath_enabled()
    assert torch.backends.mha.get_fastpath_enabled() == before


@pytest.mark.parametrize("before", [False, True])
def test_where_ops_stand_is_noted_again_after_our_exports(before, monkeypatch):
    monkeypatch.setattr(torch.fx.config, "do_not_emit_stack_traces", before, raising=False)
    with without_stacks():
        assert torch.fx.config.do_not_emit_stack_traces
    assert torch.fx.config.do_not_emit_stack_traces is before


def test_a_release_without_the_setting_is_left_alone(monkeypatch):
    monkeypatch.delattr(torch.fx.config, "do_not_emit_stack_traces", raising=False)
    with without_stacks():
        assert not hasattr(torch.fx.config, "do_not_emit_stack_traces")
