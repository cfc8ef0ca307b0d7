"""Which elements a tile or a stream needs: of every tensor, along each axis, ends included.

Plans compute nothing and hold no arrays; `runners` say how they are carried out. `regions` asks
what a stretch of the outputs needs, `strides` where tiles may begin, `along` cuts one axis into
tiles, `tiles` puts the axes together, `hints` has plans in the terms of other tools, `cut` a front
by tiles and a back that runs whole. Of streams `lengths` has the network at several lengths,
`arrivals` what each position waits for, `waits` the plan that follows, `stream` and `context` its
records.
Pure functions on networks as data. May import: `network`, `geometry` and below; no framework.
A new way to cut is one file with its frozen record; its view goes into `report/`, what carries it
out into `runners/`.
"""

from __future__ import annotations

from atrous.plan.along import AxisTiles, Cell
from atrous.plan.tiles import Tile, TilePlan, cut_into_tiles

__all__ = ["AxisTiles", "Cell", "Tile", "TilePlan", "cut_into_tiles"]
