"""Where 0.1.0 had the tracer of rewritten code; see `atrous.runtime`."""

from atrous.writers.torch.code import _Tracer as _Tracer
