"""`atrous inspect --stream`: how a network runs live, and the context for a server."""

import json

import pytest

import atrous as package
from tests.command import assert_refuses, atrous

STACK = "stack:k5x8 tconvk4s2p(1,1) k3d2x4"


def test_a_stream_in_words_and_in_milliseconds():
    shown = atrous("inspect", STACK, "-i", "1,1,200", "--stream", "--rate", "16k").stdout
    assert "latency     3.5 (0.219 ms) input samples, 7 output samples" in shown
    assert "causal      no: 4 (0.250 ms) ahead, first by conv1" in shown
    assert "conv1   4 positions x 1" in shown


def test_a_stream_and_its_context_as_json():
    result = atrous("inspect", STACK, "-i", "1,1,200", "--stream", "--rate", "16k", "--json")
    plan = package.plan_stream(STACK, (1, 1, 200)).at_rate(16000)
    assert json.loads(result.stdout) == json.loads(plan.to_json())
    result = atrous("inspect", STACK, "-i", "1,1,200", "--stream", "--chunk", "25", "--json")
    context = package.plan_stream(STACK, (1, 1, 200)).context(25)
    assert json.loads(result.stdout) == json.loads(context.to_json())
    shown = atrous("inspect", STACK, "-i", "1,1,200", "--stream", "--chunk", "25").stdout
    assert "left        4 before the chunk" in shown


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["-i", "1,1,200", "--stream", "--layer", "conv1"], "--stream shows the stream alone"),
        (["-i", "1,1,20,20", "--stream"], "positions along h, w; say which is time"),
        (["-i", "1,1,20,20", "--stream", "--axis", "t"], "--axis t is none of the input's axes"),
        (["-i", "1,1,200", "--chunk", "25"], "--axis and --chunk are for --stream"),
        (["-i", "1,1,200", "--stream", "--rate", "fast"], "--rate fast is no sample rate"),
    ],
)
def test_what_is_no_stream_is_one_line(arguments, says):
    assert_refuses("inspect", STACK, *arguments, says=says)
