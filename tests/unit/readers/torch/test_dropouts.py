"""Every dropout hands its input on in evaluation mode, in place or not."""

import pytest
import torch
from torch import nn

import atrous


@pytest.mark.parametrize("inplace", [False, True])
@pytest.mark.parametrize(
    "kind", [nn.Dropout, nn.Dropout2d, nn.AlphaDropout, nn.FeatureAlphaDropout]
)
def test_dropout_in_evaluation_hands_its_input_on(kind: type[nn.Module], inplace: bool) -> None:
    dropout = kind(0.2, inplace=inplace).eval()
    x = torch.randn(1, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    assert torch.equal(dropout(x.clone()), x)
    report = atrous.inspect(
        nn.Sequential(nn.Conv2d(3, 4, 3, dilation=2), dropout).eval(), (1, 3, 8, 8)
    )
    assert report.complete
    assert report.outputs[0].field[0].size == 5
