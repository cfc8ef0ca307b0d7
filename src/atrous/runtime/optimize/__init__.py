"""Where classes of optimized modules were in 0.1.0; see `atrous.runtime`."""
