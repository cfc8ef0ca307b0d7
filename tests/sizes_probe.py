"""What `sizes` says beside whether a size runs, measured on the running model, call by call.

None of this knows the algebra: positions are filled, and what comes out is looked at.
"""

from __future__ import annotations

import copy

import torch
from torch.utils._python_dispatch import TorchDispatchMode

LAST_FEW = 24
"""How many of the last positions of a map are probed."""
BEHIND = 48
"""How many positions a map is made longer by, to see what windows would read of it."""
SLIDES = {
    "convolution",
    "max_pool2d_with_indices",
    "max_pool3d_with_indices",
    "avg_pool1d",
    "avg_pool2d",
    "avg_pool3d",
}
CUTS = {
    "slice",
    "constant_pad_nd",
    "reflection_pad1d",
    "reflection_pad2d",
    "upsample_nearest1d",
    "upsample_nearest2d",
    "upsample_nearest3d",
    "upsample_linear1d",
    "upsample_bilinear2d",
}
VIEWS = {"unsqueeze", "squeeze"}
JOINS = {"add", "cat", "mul", "sub"}


class Losing(TorchDispatchMode):
    """Which maps have last positions that no call reads, along one axis, counted from behind.

    A window that would read a position of a longer map, and does not of this one, has lost it; a
    cut loses all that is behind its last. What one call loses another may read, also of a part that
    was cut out along other axes.
    """

    def __init__(self, axis, ndim):
        super().__init__()
        self.axis, self.ndim = axis, ndim
        self.lost, self.kept, self.roots = {}, [], {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        made = func(*args, **kwargs)
        name = func.overloadpacket.__name__
        if args and made is args[0]:  # in place: what it writes is still to be read
            return made
        for value in args:
            for tensor in value if isinstance(value, list | tuple) else [value]:
                if isinstance(tensor, torch.Tensor) and tensor.ndim >= self.ndim:
                    if not tensor.is_floating_point():
                        continue
                    self.kept += [tensor, made]
                    root = self.roots.get(id(tensor), id(tensor))
                    if name in VIEWS or (name == "slice" and args[1] - tensor.ndim != self.axis):
                        self.roots[id(made)] = root
                        continue
                    lost = set()
                    if tensor is args[0] and name in SLIDES | CUTS:
                        lost = self._losing(func, name, args, kwargs)
                    self.lost[root] = self.lost.get(root, lost) & lost
        return made

    def _losing(self, func, name, args, kwargs):
        size = args[0].shape[self.axis]
        places = list(range(max(size - LAST_FEW, 0), size))
        seen = self._reached(func, args, kwargs, places, 0)
        slides = name in SLIDES or (name == "slice" and len(args) > 4 and args[4] > 1)
        if not slides:
            last = max(seen, default=-1)
            return {p for p in places if p > last}
        return set(self._reached(func, args, kwargs, places, BEHIND)) - set(seen)

    def _reached(self, func, args, kwargs, places, longer):
        """The positions that some output of the call depends on."""
        shape = [len(places), *args[0].shape[1:]]
        shape[self.axis] += longer
        x = torch.zeros(shape, dtype=args[0].dtype)
        for item, place in enumerate(places):
            x[item].select(self.axis, place).fill_(torch.nan)
        made = func(x, *args[1:], **kwargs)
        made = made[0] if isinstance(made, tuple) else made
        nan = made.isnan().flatten(1).any(1)
        return [place for place, hit in zip(places, nan.tolist(), strict=True) if hit]


def loses(model, shape, axis):
    """Whether some layer leaves last positions along an axis unread which nothing else reads."""
    mode = Losing(axis - len(shape), len(shape))
    with torch.no_grad():
        x = torch.zeros(shape, dtype=torch.double)
        with mode:
            made = model(x)
    outs = made.values() if isinstance(made, dict) else made
    outs = [outs] if isinstance(outs, torch.Tensor) else list(outs)
    for out in outs:
        mode.lost.pop(id(out), None)
    return any(mode.lost.values())


class Joining(TorchDispatchMode):
    """At each join, which inputs along an axis each output of each branch depends on."""

    def __init__(self, axis, ndim):
        super().__init__()
        self.axis, self.ndim, self.joins = axis, ndim, []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        if func.overloadpacket.__name__ in JOINS:
            flat = [t for a in args for t in (a if isinstance(a, list | tuple) else [a])]
            held = [t for t in flat if isinstance(t, torch.Tensor) and t.ndim == self.ndim]
            if len({t.shape[self.axis] for t in held}) == 1 and len(held) > 1:
                self.joins.append([self._reads(t) for t in held])
        return made

    def _reads(self, tensor):
        others = [d for d in range(1, self.ndim) if d != self.ndim + self.axis]
        return (tensor > 0).amax(others)


def positive(model):
    """The model with weights above 0 and no bias: what depends on a 1 among zeros is above 0.

    An interpolation hands NaN on with a weight of 0, and this not.
    """
    made = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in made.parameters():
            many = parameter[0].numel() if parameter.ndim > 1 else 0
            parameter.fill_(1 / many if many else 0)
    return made


def shifts(model, shape, axis):
    """For each join how far its branches are apart, in cells, at the worst end of the map.

    The middles of what outputs depend on, away from the borders, on a line; None where too few
    outputs are away from them.
    """
    n, ndim = shape[axis], len(shape)
    x = torch.zeros((n, *shape[1:]), dtype=torch.double)
    for item in range(n):
        x[item].select(axis - 1, item).fill_(1)
    model = positive(model)
    mode = Joining(axis - ndim, ndim)
    with torch.no_grad(), mode:
        model(x)
    found = []
    for reads in mode.joins:
        lines = [_line(one) for one in reads]
        length = reads[0].shape[1]
        if None in lines:
            found.append(None)
            continue
        cell = min(slope for slope, _, _ in lines)
        worst = 0.0
        for slope, middle, end in lines[1:]:
            first = lines[0]
            apart = [
                max(abs((slope - first[0]) * o + at - first[i]) for o in (0, length - 1))
                for i, at in ((1, middle), (2, end))
            ]
            worst = max(worst, min(apart) if ndim == 3 else apart[0])
        found.append(worst / cell if length > 1 else 0.0)
    return found


def _line(reads):
    """Slope, and middle and end at output 0, of what outputs read, as long as it is unclipped.

    Over whole phases where what is read comes again after so many outputs, else over all outputs
    where nearly all are unclipped.
    """
    held = [column.nonzero().flatten() for column in reads.T]
    # Windows that meet padding within the model end where the last position that is read lies.
    read = reads.any(1).nonzero().flatten().tolist() or [0]
    inside = [o for o, at in enumerate(held) if len(at) and at[0] > read[0] and at[-1] < read[-1]]
    if len(inside) < 2 or inside[-1] - inside[0] != len(inside) - 1:
        return None
    y = torch.tensor([(held[o][0] + held[o][-1]).item() / 2 for o in inside], dtype=torch.double)
    e = torch.tensor([float(held[o][-1]) for o in inside], dtype=torch.double)
    o = torch.tensor(inside, dtype=torch.double)
    for phases in range(1, len(inside) // 2 + 1):
        steps = y[phases:] - y[:-phases]
        if (steps == steps[0]).all():
            slope, o, y, e = steps[0] / phases, o[:phases], y[:phases], e[:phases]
            break
    else:
        if len(inside) < 0.8 * len(held):
            return None
        slope = ((o - o.mean()) * (y - y.mean())).sum() / ((o - o.mean()) ** 2).sum()
    return slope.item(), (y.mean() - slope * o.mean()).item(), (e.mean() - slope * o.mean()).item()
