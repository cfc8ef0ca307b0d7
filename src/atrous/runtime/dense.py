"""Where 0.1.0 had the layers of converted modules; see `atrous.runtime`."""

from atrous.writers.torch.layers import AvgPool as AvgPool
from atrous.writers.torch.layers import DensePad as DensePad
from atrous.writers.torch.layers import PadInput as PadInput
from atrous.writers.torch.layers import PhasePad as PhasePad
from atrous.writers.torch.layers import Resample as Resample
