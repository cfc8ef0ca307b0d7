"""Fixes of stacks along time: none makes the output wait for what comes."""

import pytest

from atrous.explore.draft import Draft
from atrous.explore.fixes import fix_for


@pytest.mark.parametrize(
    "text",
    [
        "k3causal k3d2p(3,1) k3causal",
        "k3p(0,2) k3",
        "k2d2p(1,1)",
        "k3causal k4causal k3d2causal k3d2causal k3d2causal",
        "k4d2p(3,3) k3",
        "k3s2p(1,0) k3causal",
        "k2d2p(1,1) k3d2causal k3d2causal",
    ],
)
def test_no_fix_looks_further_ahead(text):
    draft = Draft.of(text, (1, 4, 96))
    report = draft.report()
    ahead = report.outputs[0].field[0].ahead
    assert report.findings
    for finding in report.findings:
        fix = fix_for(draft, finding)
        if fix is not None:
            assert fix.draft.report().outputs[0].field[0].ahead <= ahead, (finding.code, fix.what)
        assert "Pad 0+" not in finding.fix


def test_a_leak_is_mended_by_causal_padding():
    draft = Draft.of("k3causal k3d2p(3,1) k3causal", (1, 4, 64))
    (finding,) = [f for f in draft.report().findings if f.code == "leak"]
    fix = fix_for(draft, finding)
    assert fix is not None
    assert fix.draft.text == "k3causal k3d2causal k3causal"
