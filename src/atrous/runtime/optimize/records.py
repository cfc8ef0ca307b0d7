"""Where 0.1.0 had what optimized modules explain; see `atrous.runtime`."""

from atrous.optimization.records import Explanation as Explanation
from atrous.optimization.records import LayerChoice as LayerChoice
