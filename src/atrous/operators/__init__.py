"""Says how: what runs a model, rather than reads it."""
