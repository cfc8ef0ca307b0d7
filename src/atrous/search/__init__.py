"""Schedules of stride and dilation: which ones there are, and which none beats.

`space` says what is searched and how many schedules that is, `costs` what a layer costs before
there is a network, `skeletons` which layers stand at which step of the input, `ladder` finds what
no other schedule beats by putting one layer after the other on what is read already, `designs`
makes records of it.
Pure functions on frozen records; what is measured comes in as numbers. May import: `analysis`,
`network`, `geometry` and below, and numpy; no framework.
A new price or kind of layer is a branch of `costs` and a name in `space`; a new rule on schedules
a group in `skeletons`.
"""

from __future__ import annotations

from atrous.search.designs import Chosen, Design, Designs, search_space
from atrous.search.space import LAYERS, PRICES, LayerKind, Price, Space

__all__ = [
    "LAYERS",
    "PRICES",
    "Chosen",
    "Design",
    "Designs",
    "LayerKind",
    "Price",
    "Space",
    "search_space",
]
