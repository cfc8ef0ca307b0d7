"""Where 0.1.0 had modules with rewritten code; see `atrous.runtime`."""

from atrous.writers.torch.recoded import Recoded as Recoded
from atrous.writers.torch.recoded import RecodedGraph as RecodedGraph
from atrous.writers.torch.recoded import _Named as _Named
from atrous.writers.torch.recoded import _restored as _restored
