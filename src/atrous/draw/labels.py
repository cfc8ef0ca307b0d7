"""Names in the room that there is: shortened, and still told apart."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from atrous.draw.units import shortened
from atrous.shown import splits

__all__ = ["labels"]

_BOUNDARIES = "./_"


def labels(
    names: Sequence[str], width: int, mark: str = "…", among: Iterable[str] = ()
) -> list[str]:
    """Each name in at most `width` characters, so that no other name fits what is left of it.

    A label is a name's begin, `mark` and its end; no two names, and none of those `among` which
    they are, begin and end alike. Where there is no room for that, labels are as much wider as it
    takes.

    >>> names = ["backbone.layer1.0.downsample.0", "backbone.layer2.0.downsample.0", "conv1"]
    >>> labels(names, 23)
    ['b…layer1.0.downsample.0', 'b…layer2.0.downsample.0', 'conv1']
    """
    held = _Held([*names, *among])
    found: dict[str, str] = {}
    for name in dict.fromkeys(names):
        # A name as long as its label is the name itself, which ends the search.
        tries = (held.label(name, room, mark) for room in range(width, len(name) + 1))
        found[name] = next((label for label in tries if label is not None), name)
    return [found[name] for name in names]


class _Held:
    """All names, by how they end."""

    def __init__(self, names: Iterable[str]) -> None:
        self.names = dict.fromkeys(names)
        self.by_tail: dict[int, dict[str, list[str]]] = {}

    def label(self, name: str, room: int, mark: str) -> str | None:
        """The name in that room, the first way that tells it from all others; None if none does."""
        usual = shortened(name, room, mark)
        ways = (
            usual,
            *(f"{head}{mark}{tail}" for head, tail in _ways_to_cut(name, room - len(mark))),
        )
        return next((label for label in ways if self._fits(label, mark) == {name}), None)

    def _fits(self, label: str, mark: str) -> set[str]:
        """The names that a label can stand for; dots of a name beside dots of the mark count."""
        found = {label} & self.names.keys()
        for head, tail in splits(label, mark):
            least = len(head) + len(tail)
            alike = self._ending(tail)
            found |= {name for name in alike if len(name) >= least and name.startswith(head)}
        return found

    def _ending(self, tail: str) -> list[str]:
        size = len(tail)
        if size not in self.by_tail:
            ends = self.by_tail.setdefault(size, {})
            for name in self.names:
                if len(name) >= size:
                    ends.setdefault(name[len(name) - size :], []).append(name)
        return self.by_tail[size].get(tail, [])


def _ways_to_cut(name: str, room: int) -> Iterator[tuple[str, str]]:
    """The ways to keep `room` letters of a name: those cut where a part of it ends first."""
    usual = room // 4
    ways = sorted(range(room), key=lambda head: abs(head - usual))
    for whole in (True, False):
        for head in ways:
            cut = len(name) - (room - head)
            if (name[cut - 1] in _BOUNDARIES) == whole:
                yield name[:head], name[cut:]
