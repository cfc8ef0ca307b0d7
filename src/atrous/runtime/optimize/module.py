"""Where 0.1.0 had optimized modules; see `atrous.runtime`."""

from atrous.optimization.module import Optimized as Optimized
from atrous.optimization.plan import Recipe as Recipe
