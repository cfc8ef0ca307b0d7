"""Findings at the head of a report: one line for each kind, however many layers it names."""

import atrous


def test_findings_of_one_kind_share_a_line_and_name_the_other_layers():
    front = "k3s2p(1,0) k3s2p(1,0) k3s2p(1,0) k3s2p(1,0)"
    report = atrous.inspect(f"stack:{front} " + "k3causal " * 6, (1, 1, 256))
    leaks = [finding.layer for finding in report.findings if finding.code == "leak"]
    assert leaks == ["conv1", "conv2", "conv3", "conv4"]
    text = " ".join(str(report).split())
    assert text.count("leak,") == 1
    assert "leak, conv1: reads 1 input position ahead of its own along t" in text
    assert "Also at conv2, conv3, conv4." in text
