"""What is said of a convolution inside windows is measured inside one window."""

import torch
from torch import nn

import atrous


class Windowed(nn.Module):
    """A convolution inside windows of 4x4 positions."""

    def __init__(self, kernel: int, pads: tuple[int, int]) -> None:
        super().__init__()
        self.pad = nn.ZeroPad2d((*pads, *pads))
        self.conv = nn.Conv2d(1, 1, kernel)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        cut = x.reshape(1, 1, 3, 4, 3, 4).permute(0, 2, 4, 1, 3, 5).reshape(9, 1, 4, 4)
        out = self.conv(self.pad(cut))
        return out.reshape(1, 3, 3, 1, 4, 4).permute(0, 3, 1, 4, 2, 5).reshape(1, 1, 12, 12)


def _shifts(module: nn.Module) -> list[str]:
    report = atrous.inspect(module.eval(), (1, 1, 12, 12))
    assert report.complete
    return [f.message for f in report.findings if f.code == "half-cell-shift"]


def test_a_centred_window_inside_windows_shifts_nothing() -> None:
    model = Windowed(3, (1, 1)).eval()
    report = atrous.inspect(model, (1, 1, 12, 12))
    for row in (4, 5, 6, 7):
        seen = []
        for source in range(12):
            x = torch.zeros(1, 1, 12, 12)
            x[:, :, source] = torch.nan
            if model(x)[0, 0, row, 5].isnan():
                seen.append(source)
        # Within its window of rows 4 to 7, a row sees as far up as down.
        assert seen == [r for r in (row - 1, row, row + 1) if 4 <= r <= 7]
        mask = report.footprint(report.outputs[0].name, at=(row, 5)).mask
        assert mask.any(1).nonzero()[0].tolist() == seen
    assert _shifts(Windowed(3, (1, 1))) == []


def test_an_uneven_window_inside_windows_shifts_by_its_own_cells() -> None:
    found = _shifts(Windowed(4, (2, 1)))
    assert len(found) == 1
    assert "0.5 cells" in found[0] or "half a cell" in found[0]
