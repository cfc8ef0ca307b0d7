"""A small U-Net that resizes to the size of what it joins, for tests of tiles."""

import torch
from torch import nn
from torch.nn.functional import interpolate, relu


class Skips(nn.Module):
    """Resizes back by `mode` and then by `last` (the same, if not given)."""

    def __init__(self, mode="bilinear", corners=None, last=None):
        super().__init__()
        self.how = [{"mode": one, "align_corners": corners} for one in (mode, last or mode)]
        self.first = nn.Conv2d(1, 4, 3, padding=1)
        self.down = nn.Conv2d(4, 8, 3, stride=2, padding=1)
        self.deep = nn.Conv2d(8, 8, 3, stride=2, padding=2, dilation=2)
        self.up = nn.Conv2d(16, 8, 3, padding=1)
        self.last = nn.Conv2d(12, 2, 3, padding=1)

    def forward(self, x):
        a = relu(self.first(x))
        b = relu(self.down(a))
        c = relu(self.deep(b))
        d = self.up(torch.cat([b, interpolate(c, b.shape[2:], **self.how[0])], 1))
        return self.last(torch.cat([a, interpolate(d, a.shape[2:], **self.how[1])], 1))
