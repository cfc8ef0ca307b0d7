"""Which elements a tile or a stream needs: of every tensor, along each axis, ends included.

Plans compute nothing and hold no arrays; `runners` carry them out. `regions` asks what a stretch of
outputs needs, `strides` where tiles begin, `along` cuts one axis, `tiles` puts the axes together,
`hints` has other tools' terms, `cut` a front by tiles and a back that runs whole. Of streams
`lengths` has several lengths, `arrivals` what positions wait for, `kept` what is kept, `waits` the
plan, and `stream` and `context` its records.
Pure functions on networks as data. May import: `network`, `geometry` and below; no framework.
A new way to cut is one file with its frozen record; its view goes into `report/`, what carries it
out into `runners/`.
"""

from __future__ import annotations

from atrous.plan.along import AxisTiles, Cell
from atrous.plan.tiles import Tile, TilePlan
from atrous.plan.tiling import cut_into_tiles

__all__ = ["AxisTiles", "Cell", "Tile", "TilePlan", "cut_into_tiles"]
