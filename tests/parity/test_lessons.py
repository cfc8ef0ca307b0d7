"""Every statement of `atrous learn` against PyTorch, or a count made by hand.

`CHECKS` holds one check for each statement; that none is missing is a test, too.
"""

import math
import re
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from torch.nn import functional

import atrous
from atrous.lessons import Numbers, lesson_of, topics

CHECKS = {}
NUMBERS = (
    Numbers(),
    Numbers(kernel=5, stride=3, dilation=4, depth=3, channels=2, input=(1, 2, 41, 37)),
    Numbers(kernel=2, stride=2, dilation=3, depth=4, channels=3, input=(1, 1, 100)),
    Numbers(kernel=4, stride=1, dilation=1, depth=2, channels=1, input=(1, 1, 12, 14, 16)),
)


def checks(topic, name):
    def register(check):
        CHECKS[topic, name] = check
        return check

    return register


def plain(kernel, stride=1, dilation=1, pads=(0, 0)):
    return kernel, stride, dilation, pads


def same(kernel, stride=1, dilation=1):
    total = (kernel - 1) * dilation
    return kernel, stride, dilation, (total // 2, total - total // 2)


def run(layers, x):
    """A chain of convolutions of ones along one axis."""
    for kernel, stride, dilation, pads in layers:
        weight = torch.ones(1, 1, kernel, dtype=x.dtype)
        x = functional.conv1d(functional.pad(x, pads), weight, stride=stride, dilation=dilation)
    return x


def made_by(layers, length):
    return run(layers, torch.zeros(1, 1, length)).shape[-1]


def read_by(layers, length, at=None):
    """The inputs that an output reads, from gradients; the middle one if not said."""
    x = torch.ones(1, 1, length, dtype=torch.float64, requires_grad=True)
    y = run(layers, x)
    at = y.shape[-1] // 2 if at is None else at
    [slope] = torch.autograd.grad(y[0, 0, at], x)
    return slope[0, 0].nonzero().flatten().tolist()


def span(layers, length=4001):
    read = read_by(layers, length)
    return read[-1] - read[0] + 1


def all_read(layers, length):
    """The share of the input that some output reads."""
    x = torch.ones(1, 1, length, dtype=torch.float64, requires_grad=True)
    [slope] = torch.autograd.grad(run(layers, x).sum(), x)
    return float((slope != 0).double().mean())


def doubling_of(n):
    """Convolutions with rates 1, 2, 4 and so on."""
    return [same(n.kernel, 1, 1 << i) for i in range(n.depth)]


def table_of(statement, place=0):
    return statement.evidence[place]


def assert_slide_reads(slide, layers, transposed=False):
    for output in range(slide.outputs):
        if transposed:
            window = slide.window
            x = torch.ones(1, 1, slide.length, requires_grad=True)
            y = functional.conv_transpose1d(
                x, torch.ones(1, 1, window.kernel), stride=window.stride
            )
            assert y.shape[-1] == slide.outputs
            [slope] = torch.autograd.grad(y[0, 0, output], x)
            read = slope[0, 0].nonzero().flatten().tolist()
        else:
            read = read_by(layers, slide.length, output)
        assert list(slide.reads(output)) == read


@checks("definition", "stride-moves")
def _(one, n):
    layers = [plain(n.kernel, n.stride)]
    [slide] = one.evidence
    assert_slide_reads(slide, layers)
    firsts = [read_by(layers, slide.length, o)[0] for o in range(4)]
    assert ", ".join(map(str, firsts[:3])) in one.exactly


@checks("definition", "dilation-spaces")
def _(one, n):
    [slide] = one.evidence
    assert_slide_reads(slide, [plain(n.kernel, dilation=n.dilation)])
    assert f"an extent of {span([plain(n.kernel, dilation=n.dilation)])}" in one.exactly


@checks("definition", "same-field")
def _(one, n):
    for first, row in zip(
        (same(n.kernel), same(n.kernel, n.stride), same(n.kernel, 1, n.dilation)),
        table_of(one).rows,
        strict=True,
    ):
        assert row[1:] == (span([first]), span([first, same(n.kernel)]))


@checks("definition", "resolution")
def _(one, n):
    strided = made_by([same(n.kernel, n.stride)], n.size)
    kept = made_by([same(n.kernel, 1, n.dilation)], n.size)
    lost = n.size - made_by([plain(n.kernel, dilation=n.dilation)], n.size)
    assert f"become {strided} with" in one.exactly
    assert f"stay {kept} because" in one.exactly
    assert f"without padding {lost} positions" in one.exactly


@checks("strided", "output-size")
def _(one, n):
    length, kernel, stride = (8, 3, 2) if n == Numbers() else (n.size, n.kernel, n.stride)
    assert f"+ 1 = {made_by([plain(kernel, stride)], length)}" in one.exactly
    left = length - 1 - read_by([plain(kernel, stride)], length, -1)[-1]
    assert ("dropped" in one.exactly) == (left > 0)
    for slide in one.evidence:
        assert_slide_reads(slide, [plain(kernel, stride)])


@checks("strided", "whole-formula")
def _(one, n):
    for stride, dilation, pad, extent, outputs in table_of(one).rows:
        layer = plain(n.kernel, stride, dilation, (pad, pad))
        assert extent == span([plain(n.kernel, dilation=dilation)])
        assert outputs == made_by([layer], n.size)


@checks("strided", "subsampling")
def _(one, n):
    x, weight = torch.randn(2, 3, 60), torch.randn(4, 3, n.kernel)
    every = functional.conv1d(x, weight)[..., :: n.stride]
    kept = functional.conv1d(x, weight, stride=n.stride)
    assert torch.allclose(every[..., : kept.shape[-1]], kept, atol=1e-5)
    assert one.verdict == "true"
    assert float(re.search(r"values is (\S+)\. ", one.exactly)[1]) < 1e-14


@checks("dilated", "zeros-between")
def _(one, n):
    x, weight = torch.randn(2, 3, 90).double(), torch.randn(4, 3, n.kernel).double()
    spread = torch.zeros(4, 3, (n.kernel - 1) * n.dilation + 1).double()
    spread[..., :: n.dilation] = weight
    own = functional.conv1d(x, weight, dilation=n.dilation)
    assert torch.allclose(own, functional.conv1d(x, spread))
    written = re.findall(r"\[(.*?)\]", one.exactly)
    zeros = " ".join(["0"] * (n.dilation - 1))
    assert written[1] == re.sub(" +", " ", f" {zeros} ".join(written[0].split()))


@checks("dilated", "size-kept")
def _(one, n):
    for _, pad, outputs in table_of(one).rows:
        layer = plain(n.kernel, dilation=n.dilation, pads=(pad // 2, pad - pad // 2))
        assert outputs == made_by([layer], n.size)
    assert table_of(one).rows[-1][2] == n.size


@checks("dilated", "no-downsampling")
def _(one, n):
    layer = same(n.kernel, 1, n.dilation)
    shared = set(read_by([layer], 500, 250)) & set(read_by([layer], 500, 251))
    assert f"share {len(shared)} of {n.kernel} taps" in one.exactly
    assert (one.verdict == "true") == (n.dilation == 1)


@checks("receptive-field", "stride-grows")
def _(one, n):
    for depth, step, field in table_of(one).rows:
        layers = [same(n.kernel, n.stride)] * depth
        assert field == span(layers)
        before = layers[:-1]
        firsts = [read_by([*before, plain(1)], 4001, at)[0] for at in (20, 21)]
        assert step == firsts[1] - firsts[0]


@checks("receptive-field", "dilation-grows")
def _(one, n):
    for rate, extent, taps in table_of(one).rows:
        read = read_by([same(n.kernel, 1, rate)], 501)
        assert (extent, taps) == (read[-1] - read[0] + 1, len(read))


@checks("receptive-field", "exponential")
def _(one, n):
    depth = max(n.depth, 4)
    schedules = (
        [same(n.kernel)] * depth,
        [same(n.kernel, 1, n.dilation)] * depth,
        [same(n.kernel, 1, 1 << i) for i in range(depth)],
        [same(n.kernel, 2)] * depth,
    )
    for layers, (_, fields, growth) in zip(schedules, table_of(one).rows, strict=True):
        found = [span(layers[: i + 1]) for i in range(depth)]
        assert fields == " ".join(map(str, found))
        added = [b - a for a, b in zip([1, *found], found, strict=False)]
        assert growth == ("linear" if len(set(added)) == 1 else "exponential")


@checks("receptive-field", "union")
def _(one, n):
    x = torch.ones(1, 1, 21, 21, requires_grad=True)
    y = functional.conv2d(x, torch.ones(1, 1, 1, 7), padding=(0, 3))
    y = y + functional.conv2d(x, torch.ones(1, 1, 7, 1), padding=(3, 0))
    [slope] = torch.autograd.grad(y[0, 0, 10, 10], x)
    assert f"a cross of {int((slope != 0).sum())} positions" in one.exactly
    assert one.verdict == "false"


@checks("formula", "plain")
def _(one, n):
    assert one.exactly.startswith(f"Output 0 reads {len(read_by([plain(n.kernel)], 50, 0))} ")


@checks("formula", "dilated")
def _(one, n):
    assert one.verdict == "true"
    assert f"= {span([plain(n.kernel, dilation=n.dilation)])}, and" in one.exactly


@checks("formula", "stack")
def _(one, n):
    layers = [same(n.kernel, n.stride), same(n.kernel, 1, n.dilation), same(n.kernel)]
    assert one.verdict == "true"
    assert f"spans {span(layers)}." in one.exactly


@checks("formula", "no-pooling")
def _(one, n):
    assert f"see {span(doubling_of(n))} positions at an output stride of 1" in one.exactly
    assert f"see {span([same(n.kernel, 2)] * n.depth)} at {2**n.depth}." in one.exactly


@checks("gridding", "holes")
def _(one, n):
    for rates, count, size, share in table_of(one).rows:
        read = read_by([same(n.kernel, 1, int(rate)) for rate in rates.split(",")], 1001)
        assert (count, size) == (len(read), read[-1] - read[0] + 1)
        assert share == pytest.approx((len(read) / size) ** n.rank)


@checks("gridding", "order")
def _(one, n):
    for rates, count, grids in table_of(one).rows:
        layers = [same(n.kernel, 1, int(rate)) for rate in rates.split(",")]
        assert count == len(read_by(layers, 501))
        # The last layer's neighbours read one grid exactly where they share an input of it.
        last = [read_by(layers[-1:], 501, 250 + i) for i in range(8)]
        apart = next((i for i in range(1, 8) if set(last[0]) & set(last[i])), 0)
        assert n.kernel == 1 or apart == grids


@checks("gridding", "balanced")
def _(one, n):
    for rates, passes, full, unread in table_of(one).rows:
        values = [int(rate) for rate in rates.split(",")]
        read = read_by([same(3, 1, rate) for rate in values], 501)
        missing = read[-1] - read[0] + 1 - len(read)
        assert (full, unread) == (missing == 0, missing)
        distance = values[-1]
        for rate in values[-2:0:-1]:
            distance = max(distance - 2 * rate, 2 * rate - distance, rate)
        assert passes == (distance <= 3)


@checks("gridding", "sparse")
def _(one, n):
    [seen] = one.evidence
    layers = [same(n.kernel, 1, n.dilation)] * 3
    along = set(read_by(layers, seen.shape[0], seen.at[0]))
    mask = torch.tensor([i in along for i in range(seen.shape[0])])
    wanted = mask if len(seen.shape) == 1 else mask[:, None] & mask[None, :]
    assert torch.equal(torch.from_numpy(seen.mask), wanted)
    whole = read_by(layers, 4001)
    assert f"read {len(whole)} of {whole[-1] - whole[0] + 1} positions" in one.exactly


@checks("gridding", "head")
def _(one, n):
    for size, rate, everything, taps, alone in table_of(one).rows:
        inside = run([same(n.kernel, 1, rate)], torch.ones(1, 1, size))[0, 0]
        assert everything == pytest.approx(float((inside == n.kernel).double().mean()) ** 2)
        assert taps == pytest.approx(float(inside.double().mean() / n.kernel) ** 2)
        assert alone == pytest.approx(float((inside == 1).double().mean()) ** 2)


@checks("resolution", "effects")
def _(one, n):
    for part, row in zip(
        ({}, {"stride": n.stride}, {"dilation": n.dilation}), table_of(one).rows, strict=True
    ):
        layers = [same(n.kernel, **part)] * n.depth
        sizes = "x".join(str(made_by(layers, size)) for size in n.input[2:])
        assert row[1:4] == (sizes, span(layers[:1]), span(layers))


@checks("resolution", "trade")
def _(one, n):
    [table] = one.evidence
    for scheme, layers in zip(
        table,
        (
            [same(n.kernel)] * n.depth,
            [same(n.kernel, 2)] * n.depth,
            [same(n.kernel, 1, 1 << i) for i in range(n.depth)],
        ),
        strict=True,
    ):
        assert scheme.field[0].size == span(layers)
        assert scheme.macs == products(layers, n)


def products(layers, n):
    """Products of a stack, from the sizes that PyTorch makes."""
    total, channels = 0, n.input[1]
    for depth in range(1, len(layers) + 1):
        made = math.prod(made_by(layers[:depth], size) for size in n.input[2:])
        total += made * channels * n.channels * layers[depth - 1][0] ** n.rank
        channels = n.channels
    return total


@checks("resolution", "dense")
def _(one, n):
    first, second = torch.randn(3, 2, n.kernel).double(), torch.randn(4, 3, n.kernel).double()
    x = torch.randn(1, 2, 30 * n.stride * n.kernel).double()
    strided = functional.conv1d(functional.conv1d(x, first, stride=n.stride), second)
    dense = functional.conv1d(functional.conv1d(x, first), second, dilation=n.stride)
    assert torch.allclose(dense[..., :: n.stride][..., : strided.shape[-1]], strided)
    assert one.verdict == "true"


@checks("information", "discards")
def _(one, n):
    for kernel, share in table_of(one).rows:
        along = all_read([same(kernel, n.stride)], 16 * n.stride)
        assert share == pytest.approx(along**n.rank)


@checks("information", "compresses")
def _(one, n):
    whole = n.channels * math.prod(n.input[2:])
    for channels, count, share in table_of(one).rows:
        sizes = [made_by([same(n.kernel, n.stride)], size) for size in n.input[2:]]
        assert count == channels * math.prod(sizes)
        assert share == count / whole


@checks("information", "keeps-detail")
def _(one, n):
    layer = [same(n.kernel, 1, n.dilation)]
    here = set(read_by(layer, 900, 450))
    near = next(i for i in range(1, 200) if here & set(read_by(layer, 900, 450 + i)))
    assert one.exactly.endswith(f"is {near} away.")
    assert f"reads {n.kernel} of the {span(layer)} positions" in one.exactly


@checks("information", "long-range")
def _(one, n):
    wide = (n.kernel - 1) * n.dilation + 1
    for (_, field, params, macs), layer in zip(
        table_of(one).rows, (same(n.kernel), same(n.kernel, 1, n.dilation), same(wide)), strict=True
    ):
        assert field == span([layer])
        assert params == n.input[1] * n.channels * layer[0] ** n.rank
        assert macs == products([layer], n)


@checks("use-cases", "strided")
def _(one, n):
    published = {"vgg16": 212, "resnet50": 427, "densenet121": 2071, "mobilenet_v2": 491}
    table = table_of(one)
    assert dict(zip(table["network"], table["field"], strict=True)) == published
    assert set(table["coarsest stride"]) == {"32"}
    assert set(table["dilated layers"]) == {0}


@checks("use-cases", "dilated")
def _(one, n):
    table = table_of(one)
    rates = dict(zip(table["network"], table["largest rate"], strict=True))
    fields = dict(zip(table["network"], table["field"], strict=True))
    assert rates["deeplabv3_resnet50"] == 36
    assert rates["wavenet"] == 512
    assert (fields["wavenet"], fields["tcn"]) == (1024, 763)
    assert min(table["dilated layers"]) > 0


@checks("cost", "later-layers")
def _(one, n):
    behind = [same(n.kernel)] * 2
    whole, halved = [same(n.kernel), *behind], [same(n.kernel, n.stride), *behind]
    table = table_of(one)
    for depth in range(3):
        before = products(whole[:depth], n), products(halved[:depth], n)
        after = products(whole[: depth + 1], n), products(halved[: depth + 1], n)
        assert table["without"][depth] == after[0] - before[0]
        assert table["with"][depth] == after[1] - before[1]


@checks("cost", "same-products")
def _(one, n):
    table = table_of(one)
    assert len(set(table["products"])) == 1
    assert table["products"][0] == products([same(n.kernel)], n)


@checks("cost", "output-stride")
def _(one, n):
    table = table_of(one)
    assert [round(macs / 1e9, 1) for macs in table["products"]] == [21.4, 32.4, 99.7]
    assert set(table["field"]) == {427}


@checks("cost", "time")
def _(one, n):
    assert [column.title for column in table_of(one).columns] == ["layer", "products"]


@checks("cost", "memory")
def _(one, n):
    [table] = one.evidence
    for scheme, layers in zip(
        table,
        ([same(n.kernel, 2)] * n.depth, [same(n.kernel, 1, 1 << i) for i in range(n.depth)]),
        strict=True,
    ):
        held, channels = [], n.input[1]
        for depth in range(n.depth + 1):
            sizes = [made_by(layers[:depth], size) if depth else size for size in n.input[2:]]
            held.append(4 * channels * math.prod(sizes))
            channels = n.channels
        # Whoever runs the network holds its input all the while.
        held[0], given = 0, held[0]
        assert scheme.peak_memory_bytes == given + max(a + b for a, b in pairwise(held))


@checks("combining", "early-late")
def _(one, n):
    from torchvision.models.segmentation import deeplabv3_resnet50

    model = deeplabv3_resnet50(weights=None, weights_backbone=None, aux_loss=True).eval()
    seen = []
    for module in model.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_hook(lambda m, *_: seen.append((m.stride[0], m.dilation[0])))
    with torch.no_grad():
        model(torch.zeros(1, 3, 65, 65))
    last = max(i for i, (stride, _) in enumerate(seen, 1) if stride > 1)
    first = min(i for i, (_, rate) in enumerate(seen, 1) if rate > 1)
    rows = {row[0]: row[1:] for row in table_of(one).rows}
    assert rows["deeplabv3_resnet50"] == (len(seen), last, first)


@checks("combining", "hybrid")
def _(one, n):
    if n.depth < 3:
        assert one.verdict == "if"
        return
    [table] = one.evidence
    half = n.depth // 2
    hybrid = [same(n.kernel, 2)] * half + [same(n.kernel, 1, 1 << i) for i in range(n.depth - half)]
    assert table["hybrid"].field[0].size == span(hybrid)
    assert table["hybrid"].macs == products(hybrid, n)


@checks("combining", "reduced")
def _(one, n):
    from torchvision.models import resnet50

    maps = []
    for dilated in ([False, False, False], [False, True, True]):
        with torch.device("meta"):
            model = resnet50(replace_stride_with_dilation=dilated).eval()
            model.layer4.register_forward_hook(lambda _, __, y: maps.append(y.shape[-1]))
            model(torch.zeros(1, 3, 512, 512))
    assert f"from {maps[0]}x{maps[0]} to {maps[1]}x{maps[1]}" in one.exactly
    assert one.verdict == "true"


@checks("summary", "table")
def _(one, n):
    cells = {row[0]: row[1:] for row in table_of(one).rows}
    schemes = [
        [same(n.kernel, **part)] * n.depth
        for part in ({}, {"stride": n.stride}, {"dilation": n.dilation})
    ]
    sizes = [made_by(layers, n.size) for layers in schemes]
    spans = [span(layers) for layers in schemes]
    counts = [products(layers, n) for layers in schemes]
    assert cells["reduces the map"] == tuple(size < n.size for size in sizes[1:])
    assert cells["keeps the resolution"] == (n.stride == 1, True)
    assert cells["enlarges the field"] == tuple(size > spans[0] for size in spans[1:])
    assert cells["products, of plain"] == tuple(f"{c / counts[0]:.3g}" for c in counts[1:])
    read = [len(read_by(layers, 4001)) for layers in schemes]
    assert cells["positions of the field read"] == tuple(
        f"{r / s:.0%}" for r, s in zip(read[1:], spans[1:], strict=True)
    )


@checks("relevance", "balance")
def _(one, n):
    table = table_of(one)
    both = [
        name
        for name, stride, rate in zip(
            table["network"], table["coarsest stride"], table["largest rate"], strict=True
        )
        if stride != "1" and rate > 1
    ]
    assert f"{len(both)} have both" in one.exactly


@checks("convolution", "sum")
def _(one, n):
    by_hand, computed = re.findall(r"-?\d+\.\d{6}", one.exactly)
    assert by_hand == computed


@checks("convolution", "shift")
def _(one, n):
    x, weight = torch.randn(1, 1, 240), torch.randn(1, 1, n.kernel)
    for by, alike in table_of(one).rows:
        before = functional.conv1d(x, weight, stride=n.stride)
        after = functional.conv1d(torch.roll(x, by, -1), weight, stride=n.stride)
        whole = torch.roll(before, by // n.stride, -1)
        assert alike == (by % n.stride == 0 and torch.equal(after[..., 10:-10], whole[..., 10:-10]))


@checks("padding", "padding")
def _(one, n):
    for pad, outputs, partly, first in table_of(one).rows:
        layer = plain(n.kernel, n.stride, n.dilation, (pad, pad))
        inside = run([layer], torch.ones(1, 1, n.size))[0, 0]
        assert (outputs, first) == (len(inside), -pad)
        assert partly == int((inside < n.kernel).sum())


@checks("padding", "centre")
def _(one, n):
    for pads, centre, back, ahead in table_of(one).rows:
        low, high = (int(pad) for pad in re.findall(r"\d+", pads))
        read = read_by([plain(n.kernel, n.stride, 1, (low, high))], 8 * n.kernel * n.stride, 3)
        here = 3 * n.stride
        assert centre == (read[0] + read[-1]) / 2 - here
        assert (back, ahead) == (max(here - read[0], 0), max(read[-1] - here, 0))


@checks("pooling", "same-reads")
def _(one, n):
    strided, largest, average, both = table_of(one).rows
    layer = same(n.kernel, n.stride)
    assert strided[1] == largest[1] == average[1] == span([layer])
    assert both[1] == span([same(n.kernel), same(n.stride, n.stride)])
    assert (largest[3], average[3]) == (0, 0)
    inner = replace(n, input=(1, n.channels, *n.input[2:]))
    assert strided[4] == products([layer], inner)
    assert both[4] == products([same(n.kernel)], inner)


def dict_of(n):
    return {
        "kernel": n.kernel,
        "stride": n.stride,
        "dilation": n.dilation,
        "depth": n.depth,
        "channels": n.channels,
    }


@checks("pooling", "pool-keeps")
def _(one, n):
    for kernel, (_, share) in zip((1, n.stride, n.kernel), table_of(one).rows, strict=True):
        assert share == pytest.approx(all_read([same(kernel, n.stride)], 16 * n.stride))


@checks("same-valid", "sizes")
def _(one, n):
    if one.verdict == "untried":
        assert n.size < (n.kernel - 1) * n.dilation + 1
        return
    for name, stride, outputs, centre in table_of(one).rows:
        rule = same if name == "same" else plain
        layer = rule(n.kernel, stride, n.dilation)
        assert outputs == made_by([layer], n.size)
        assert centre == (n.kernel - 1) * n.dilation / 2 - layer[3][0]


@checks("same-valid", "one-same")
def _(one, n):
    length = 4 * n.kernel * n.stride
    total = max((-(-length // n.stride) - 1) * n.stride + n.kernel - length, 0)
    splits = [(total // 2, total - total // 2), (total - total // 2, total // 2)]
    own = made_by([same(n.kernel, n.stride)], length), same(n.kernel, n.stride)[3][0]
    for (_, equal), pads in zip(table_of(one).rows, splits, strict=True):
        other = made_by([plain(n.kernel, n.stride, 1, pads)], length), pads[0]
        assert equal == (own == other)


@checks("checkerboard", "uneven")
def _(one, n):
    for kernel, multiple, counts in table_of(one).rows:
        ones = functional.conv_transpose1d(
            torch.ones(1, 1, 12), torch.ones(1, 1, kernel), stride=n.stride
        )
        inner = sorted(set(ones[0, 0, kernel:-kernel].int().tolist()))
        assert counts == " or ".join(map(str, inner))
        assert multiple == (len(inner) == 1)
    assert_slide_reads(one.evidence[1], [], transposed=True)


@checks("checkerboard", "dilated")
def _(one, n):
    tail = [same(n.kernel, 1, n.dilation)] * 2
    shared = set(read_by(tail, 900, 450)) & set(read_by(tail, 900, 451))
    assert (one.verdict == "true") == (not shared)


@checks("feature-maps", "shape")
def _(one, n):
    parts = ({}, {"stride": n.stride}, {"dilation": n.dilation})
    for part, row in zip(parts, table_of(one).rows, strict=True):
        sizes = [made_by([same(n.kernel, **part)], size) for size in n.input[2:]]
        assert row[1] == "x".join(map(str, (n.channels, *sizes)))
        assert row[2:] == (n.channels * math.prod(sizes), 4 * n.channels * math.prod(sizes))


@checks("feature-maps", "position")
def _(one, n):
    layers = [same(n.kernel, n.stride)] * min(n.depth, 3)
    here = [read_by(layers, 4001, at) for at in (40, 41)]
    middles = [(read[0] + read[-1]) / 2 for read in here]
    step = middles[1] - middles[0]
    assert f"lies at {middles[0] - 40 * step:g} + {step:g} o" in one.exactly
    assert f"reads {span(layers)} position" in one.exactly


STATED = [(topic.name, name) for topic in topics() for name in topic.claims]


def test_every_statement_has_a_check():
    assert set(CHECKS) == set(STATED)


@pytest.mark.parametrize("numbers", NUMBERS, ids=["usual", "wide", "even", "none"])
@pytest.mark.parametrize("topic", [topic.name for topic in topics()])
def test_statements_are_what_pytorch_does(topic, numbers):
    for one in lesson_of(topic, numbers).statements:
        try:
            CHECKS[topic, one.name](one, numbers)
        except AssertionError as error:
            raise AssertionError(f"{topic}, {one.name}: {error}\n{one.exactly}") from error


def test_a_wrong_statement_is_noticed():
    right = lesson_of("gridding", Numbers())["holes"]
    [table] = right.evidence
    wrong = type(right)(
        right.name,
        right.says,
        right.verdict,
        right.exactly,
        (type(table)(table.title, table.columns, (("2,2,2", 7, 14, 0.25), *table.rows[1:])),),
    )
    CHECKS["gridding", "holes"](right, Numbers())
    with pytest.raises(AssertionError):
        CHECKS["gridding", "holes"](wrong, Numbers())


def test_the_article_s_worked_examples():
    assert "= 3, where (8 - 3) / 2 + 1 is 3.5" in atrous.learn("strided")["output-size"].exactly
    assert "[a b c] at rate 2 is [a 0 b 0 c]" in atrous.learn("dilated")["zeros-between"].exactly


def test_times_are_taken_where_they_are_asked_for():
    lesson = atrous.learn("cost", channels=2, input=(1, 2, 16, 16), measure=True)
    [table] = lesson["time"].evidence
    assert [column.unit for column in table.columns] == ["", "MAC", "ms", "times"]
    assert all(time > 0 for time in table["time"])
    # What a run holds is at least one map of it, and the machine is named.
    _, held = lesson["memory"].evidence
    assert [column.unit for column in held.columns] == ["", "bytes", "bytes", "times"]
    assert all(most >= 2 * 16 * 16 * 4 for most in held["measured"])
    assert held["measured"][1] > held["measured"][0]
    assert "core" in held.title


@pytest.mark.parametrize(
    "numbers",
    [
        {"kernel": 1, "stride": 1, "dilation": 1, "depth": 1, "channels": 1, "input": (1, 1, 1)},
        {"kernel": 15, "dilation": 32, "stride": 8, "depth": 8, "input": (1, 3, 65, 65)},
        {"kernel": 2, "stride": 8, "input": (1, 1, 5, 5, 5)},
    ],
)
def test_what_cannot_be_tried_is_said_and_everything_else_holds(numbers):
    for topic in topics():
        for one in lesson_of(topic.name, Numbers(**numbers)).statements:
            assert one.exactly
            if one.verdict == "untried":
                assert one.exactly.startswith("With these numbers it cannot be tried: ")
