"""Known networks against what their papers and their authors' code say about them."""

from __future__ import annotations

import pytest

import atrous
from atrous.network import zoo


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("densenet121", 7_978_856),
        ("inception_v3", 23_834_568),
        ("drn_c_26", 21_126_584),
        ("fcn8s", 134_489_759),
    ],
)
def test_the_number_of_parameters_is_the_published_one(name, params):
    assert zoo.build(name).param_count == params


def test_the_last_feature_of_fcn_sees_404_pixels_at_stride_32():
    # Table 1 of Long et al. 2015.
    layer = atrous.inspect("zoo:fcn8s")["fc7"]
    assert [axis.size for axis in layer.field] == [404, 404]
    assert layer.output_stride == (32, 32)


def test_drn_keeps_stride_8_and_its_tail_fills_what_its_rates_leave():
    report = atrous.inspect("zoo:drn_c_26")
    assert report["layer8.0.relu@1"].output_stride == (8, 8)
    assert report["layer8.0.relu@1"].output_shape == (1, 512, 28, 28)
    assert report["layer8.0.relu@1"].field[0].coverage == 1


def test_denseaspp_stays_at_stride_8_and_adds_126_cells_of_reach():
    report = atrous.inspect("zoo:denseaspp121")
    before, after = (report[name].field[0] for name in ("features.relu5", "classification"))
    assert before.stride == after.stride == 8
    assert after.size - before.size == 126 * 8
    assert after.coverage == 1
