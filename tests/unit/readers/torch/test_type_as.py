"""`type_as` takes of its second operand the type and nothing else."""

import torch
from torch import nn

import atrous


class Shift(nn.Module):
    """A mean that takes the input's type is taken off, then a window slides."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, dilation=2, padding=2)
        self.register_buffer("mean", torch.tensor([0.4, 0.4, 0.4]).view(1, 3, 1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv((x - self.mean.type_as(x)).type_as(x))


def test_a_mean_of_the_type_of_the_input_reads_none_of_it() -> None:
    model = Shift().eval()
    report = atrous.inspect(model, (1, 3, 16, 16))
    assert report.complete
    x = torch.zeros(1, 3, 16, 16)
    seen = []
    for row in range(16):
        probe = x.clone()
        probe[:, :, row] = torch.nan
        if model(probe)[0, 0, 8, 8].isnan():
            seen.append(row)
    mask = report.footprint(report.outputs[0].name, at=(8, 8)).mask
    assert mask.any(1).nonzero()[0].tolist() == seen == [6, 8, 10]
