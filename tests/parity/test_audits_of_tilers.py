"""Tilers of all kinds against whole runs: what `audit_tiles` finds is what was put in."""

import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper
from torch import nn

import atrous


def tiles_of(model, halo, size=32, stride=1, factor=1):
    """A loop over the last axis with a guessed halo on each side of a tile."""
    before, behind = halo

    def run(x):
        length, parts = x.shape[-1], []
        for start in range(0, length, size):
            low, high = max(start - before, 0), min(start + size + behind, length)
            with torch.no_grad():
                made = model(x[..., low:high])
            skip = (start - low) * factor // stride
            count = (min(start + size, length) - start) * factor // stride
            parts.append(made[..., skip : skip + count])
        return torch.cat(parts, -1)

    return run


def net(*layers):
    torch.manual_seed(0)
    return nn.Sequential(*layers).double().eval()


def image_of(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def along_last(found):
    return found.outputs[0].axes[-1]


SMALL = (nn.Conv1d(1, 4, 5, padding=2), nn.Conv1d(4, 1, 3, padding=4, dilation=4))


def test_an_exact_tiler_is_exact():
    model = net(*SMALL)
    found = atrous.audit_tiles(model, tiles_of(model, (6, 6)), input=image_of(1, 1, 200))
    assert (found.verdict, found.outputs[0].differs) == ("exact", 0)
    tiled = atrous.tile(model, tile=32)
    assert atrous.audit_tiles(model, tiled, input=(2, 1, 300)).verdict == "exact"
    assert "at every position" in str(found)


@pytest.mark.parametrize("halo", [(5, 6), (6, 5), (5, 5), (2, 6), (0, 3), (4, 1), (0, 0)])
def test_the_halo_that_is_lacking_on_each_side_is_found(halo):
    model = net(*SMALL)
    found = atrous.audit_tiles(model, tiles_of(model, halo), input=image_of(1, 1, 800))
    along = along_last(found)
    assert found.verdict == "approximate"
    assert (along.needed, along.period) == ((6, 6), 32)
    assert along.lacks == (6 - halo[0], 6 - halo[1])
    assert (along.seams, along.offset) == (tuple(range(32, 800, 32)), 0)


def test_seams_along_one_axis_do_not_hide_those_along_another():
    model = net(nn.Conv2d(1, 2, 7, padding=3))
    by_columns = tiles_of(model, (1, 1), 24)

    def both(x):
        rows = [(max(top - 2, 0), top, min(top + 42, 120)) for top in range(0, 120, 40)]
        parts = [
            by_columns(x[..., low:high, :])[..., top - low :, :][..., :40, :]
            for low, top, high in rows
        ]
        return torch.cat(parts, -2)

    rows, columns = atrous.audit_tiles(model, both, input=image_of(1, 1, 120, 144)).outputs[0].axes
    assert (rows.seams, rows.lacks) == ((40, 80), (1, 1))
    assert (columns.seams, columns.period, columns.lacks) == ((24, 48, 72, 96, 120), 24, (2, 2))


def test_strided_outputs_and_upsampled_ones():
    down = net(nn.Conv1d(1, 2, 9, stride=4, padding=4))
    found = atrous.audit_tiles(down, tiles_of(down, (0, 4), stride=4), input=image_of(1, 1, 320))
    along = along_last(found)
    assert (along.period, along.stride, along.needed) == (8, 4, (4, 1))
    assert along.lacks == (1, 0)
    up = net(nn.ConvTranspose1d(1, 1, 4, stride=2, padding=1), nn.Conv1d(1, 1, 5, padding=2))
    found = atrous.audit_tiles(up, tiles_of(up, (1, 1), factor=2), input=image_of(1, 1, 320))
    assert along_last(found).period == 64
    assert found.verdict == "approximate"


class Decoder(nn.Module):
    """The layout of a latent decoder at small width: blocks of two convolutions, then doubled."""

    def __init__(self):
        super().__init__()
        layers = [nn.Conv2d(2, 4, 3, padding=1)]
        for level in range(4):
            layers += [nn.Conv2d(4, 4, 3, padding=1), nn.SiLU()] * (8 if level == 0 else 6)
            if level < 3:
                layers += [nn.Upsample(scale_factor=2), nn.Conv2d(4, 4, 3, padding=1)]
        self.layers = nn.Sequential(*layers, nn.Conv2d(4, 3, 3, padding=1))

    def forward(self, x):
        return self.layers(x)


def test_a_decoder_that_needs_more_than_a_guess_of_11_latents():
    torch.manual_seed(0)
    model = Decoder().double().eval()
    with torch.no_grad():
        for layer in model.modules():
            if isinstance(layer, nn.Conv2d):
                layer.weight.abs_().mul_(2)
    image = image_of(1, 2, 8, 96)
    found = atrous.audit_tiles(model, tiles_of(model, (11, 11), 32, factor=8), input=image)
    along = along_last(found)
    before, behind = along.needed
    assert found.verdict == "approximate"
    assert (before, behind) == (16, 16)
    assert along.period == 256
    assert all(
        0 < lack <= need - 11 + 1 for lack, need in zip(along.lacks, along.needed, strict=True)
    )


def test_blending_is_another_result_around_its_seams():
    model = net(nn.Conv1d(1, 1, 9, padding=4))

    def blended(x, roi=48, step=24):
        total, weight = torch.zeros_like(x), torch.zeros_like(x)
        for start in range(0, x.shape[-1] - roi + 1, step):
            with torch.no_grad():
                total[..., start : start + roi] += model(x[..., start : start + roi])
            weight[..., start : start + roi] += 1
        return total / weight

    found = atrous.audit_tiles(model, blended, input=image_of(1, 1, 480))
    along = along_last(found)
    assert (found.verdict, along.period, along.lacks) == ("approximate", 24, (4, 4))
    along = along_last(
        atrous.audit_tiles(model, lambda x: blended(x, 64, 48), input=image_of(1, 1, 640))
    )
    assert along.period == 48


def test_weights_that_fall_towards_a_rim_hide_what_windows_lack_which_is_said():
    model = net(nn.Conv1d(1, 1, 13, padding=6)).float()
    with torch.no_grad():
        model[0].weight[:] = torch.exp(-torch.linspace(-6, 6, 13).abs())

    def blended(x, roi=64, step=32):
        total, weight = torch.zeros_like(x), torch.zeros_like(x)
        fall = torch.exp(-(torch.linspace(-1, 1, roi, dtype=x.dtype) ** 2) * 8)
        for start in range(0, x.shape[-1] - roi + 1, step):
            with torch.no_grad():
                total[..., start : start + roi] += fall * model(x[..., start : start + roi])
            weight[..., start : start + roi] += fall
        return total / weight

    image = image_of(1, 1, 640).float()
    found = atrous.audit_tiles(model, blended, input=image)
    along = along_last(found)
    assert along.blended
    assert 0 < max(along.lacks) < 6
    assert "may lack all of that, since blending hides it" in " ".join(str(found).split())
    found = atrous.audit_tiles(model, tiles_of(model, (0, 0), 64), input=image)
    assert not along_last(found).blended


def test_seams_that_lie_at_no_even_distance_are_found_one_by_one():
    model = net(nn.Conv1d(1, 1, 13, padding=6))
    starts = [0, 40, 80, 131, 150, 211, 300]

    def uneven(x, halo=4):
        parts = []
        for start, stop in zip(starts, [*starts[1:], x.shape[-1]], strict=True):
            low = max(start - halo, 0)
            with torch.no_grad():
                part = model(x[..., low : stop + halo])
            parts.append(part[..., start - low :][..., : stop - start])
        return torch.cat(parts, -1)

    along = along_last(atrous.audit_tiles(model, uneven, input=image_of(1, 1, 360)))
    assert along.seams == tuple(starts[1:])
    assert along.lacks == (2, 2)


def test_ends_that_are_padded_otherwise_are_an_interior_and_no_seam():
    model = net(nn.Conv1d(1, 1, 5, padding=2))

    def reflected(x):
        with torch.no_grad():
            return model(nn.functional.pad(x, (2, 2), mode="reflect"))[..., 2:-2]

    found = atrous.audit_tiles(model, reflected, input=image_of(1, 1, 90))
    assert (found.verdict, along_last(found).ends) == ("interior", (2, 2))


def test_what_differs_everywhere_and_what_has_another_shape_is_broken():
    model = net(nn.Conv1d(1, 2, 4, stride=2, padding=1), nn.GroupNorm(1, 2))
    found = atrous.audit_tiles(model, tiles_of(model, (4, 4), stride=2), input=image_of(1, 1, 160))
    assert (found.verdict, along_last(found).needed) == ("broken", None)
    assert "statistics are a tile's own" in " ".join(str(found).split())
    found = atrous.audit_tiles(model, lambda x: x, input=image_of(1, 1, 160))
    assert (found.verdict, found.outputs[0].max_error) == ("broken", None)
    assert "1x1x160, and the whole run gives 1x2x80" in str(found)
    found = atrous.audit_tiles(model, lambda x: model(x) * np.nan, input=image_of(1, 1, 160))
    assert found.verdict == "broken"


def test_functions_files_and_single_precision():
    model = nn.Conv2d(1, 2, 5, padding=2).eval()
    image = image_of(1, 1, 20, 96).float()

    def whole(x):
        with torch.no_grad():
            return model(x)

    found = atrous.audit_tiles(whole, tiles_of(model, (1, 1)), input=image)
    along = along_last(found)
    assert (along.seams, along.lacks, along.needed) == ((32, 64), (1, 1), None)
    assert "is a function, so the halo" in " ".join(str(found).split())
    weight = numpy_helper.from_array(model.weight.detach().numpy(), "w")
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w"], ["y"], pads=[2] * 4)],
        "net",
        [value("x", 1, [1, 1, "h", "w"])],
        [value("y", 1, None)],
        [weight],
    )
    file = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    assert isinstance(file, onnx.ModelProto)
    assert (
        atrous.audit_tiles(file, atrous.tile(file, tile=16), input=(1, 1, 70, 80)).verdict
        == "exact"
    )


def test_it_is_plain_data_and_a_picture():
    model = net(nn.Conv2d(1, 1, 5, padding=2))
    found = atrous.audit_tiles(model, tiles_of(model, (1, 1)), input=image_of(1, 1, 24, 96))
    data = found.to_dict()
    assert (data["schema"], data["verdict"]) == ("atrous.tile-audit/1", "approximate")
    assert data["outputs"][0]["axes"][1]["lacks"] == [1, 1]
    assert '"differs"' in found.to_json()
    text = " ".join(str(found).split())
    assert "seams at 32, 64" in text.replace(" and ", ", ")
    assert "lacks 1 px before a tile and 1 behind, or more; it needs 2 and 2" in text
    chart = found.plot().to_dict()
    assert chart["mark"]["type"] == "image"


def test_what_cannot_be_audited_says_so():
    with pytest.raises(atrous.ArgumentError, match="give a function of the whole image"):
        atrous.audit_tiles(nn.Identity(), 3, input=(1, 1, 9))
    with pytest.raises(atrous.ArgumentError, match="zoo:unet: it has no weights"):
        atrous.audit_tiles("zoo:unet", lambda x: x, input=(1, 3, 64, 64))
    with pytest.raises(atrous.ArgumentError, match="a function does not say what it takes"):
        atrous.audit_tiles(lambda x: x, lambda x: x, input=(1, 1, 9))
    with pytest.raises(atrous.ArgumentError, match="gives 1 outputs and the tiler 2"):
        atrous.audit_tiles(lambda x: x, lambda x: (x, x), input=np.zeros((1, 1, 9)))
