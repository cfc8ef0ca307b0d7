"""Names in tables: told apart however narrow the table is, and taken back as they are shown."""

import re

import pytest

import atrous
from atrous.analysis import inspect_network
from atrous.draw.labels import labels
from atrous.draw.rows import listing
from atrous.errors import UnknownNameError
from atrous.network import zoo
from atrous.report import Look
from atrous.report.layers import layer_table
from atrous.report.lines import plain
from atrous.shown import ELLIPSES
from tests.command import assert_refuses
from tests.command import atrous as command

DEEP = ["deeplabv3_resnet50", "inception_v3", "conv_tasnet", "densenet121", "regseg_backbone"]


@pytest.fixture(scope="module", params=DEEP)
def report(request):
    return inspect_network(zoo.build(request.param))


@pytest.mark.parametrize(
    ("depth", "look"),
    # Names are cut by the width alone, whichever of them a depth lets through.
    [
        *((None, look) for look in (Look(60), Look(80, unicode=False), Look(120))),
        (2, Look(60, unicode=False)),
        (3, Look(80)),
    ],
    ids=str,
)
def test_every_name_in_a_table_gives_back_the_layer_of_its_row(report, depth, look):
    found = listing(report, every=True, depth=depth)
    rows = layer_table(found, look)[2:]
    shown = [plain(row).split("  ")[0].strip() for row in rows[: len(found.rows)]]
    assert len(set(shown)) == len(found.rows)
    for name, row in zip(shown, found.rows, strict=True):
        assert report[name] is report[row.name], name


def test_labels_against_every_other_name_by_brute_force():
    names = [f"m{a}.block.{b}.conv{c}" for a in range(3) for b in range(11) for c in (1, 2)]
    for mark in ELLIPSES:
        for width in range(6, 20):
            for name, label in zip(names, labels(names, width, mark), strict=True):
                cuts = [at.start() for at in re.finditer(f"(?={re.escape(mark)})", label)]
                either = [
                    re.escape(label[:at]) + ".*" + re.escape(label[at + len(mark) :]) for at in cuts
                ]
                pattern = re.compile("|".join([re.escape(label), *either]))
                fits = [other for other in names if pattern.fullmatch(other)]
                assert fits == [name], label


def test_a_name_that_is_short_for_several_layers_lists_them():
    report = atrous.inspect("zoo:deeplabv3_resnet50")
    with pytest.raises(UnknownNameError, match=r"is short for backbone\.layer1\.0\.downsample\.0"):
        report["b…downsample.0"]
    with pytest.raises(UnknownNameError, match="no layer is named 'b…nothing'"):
        report["b…nothing"]


def test_commands_take_a_shortened_name():
    source = "zoo:deeplabv3_resnet50"
    name = "b…layer3.0.downsample.0"
    assert command("inspect", source).stdout.count(name) == 1
    one = command("inspect", source, "--layer", name).stdout
    assert one.startswith("backbone.layer3.0.downsample.0: conv")
    assert "output           backbone.layer3" in command("inspect", source, "--output", name).stdout
    checked = command("check", source, "--layer", name, "--receptive-field", "==91")
    assert checked.returncode == 0
    converted = command("convert", source, "-s", "4", "--outputs", "…er3.1.conv3", "--no-measure")
    assert "backbone.layer3.1.conv3: exact" in " ".join(converted.stdout.split())
    assert_refuses("inspect", source, "--layer", "b…sample.0", says="is short for backbone")
