"""Ways to compute one layer, measured."""
