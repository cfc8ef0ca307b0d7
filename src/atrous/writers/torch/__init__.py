"""Plans into PyTorch modules."""
