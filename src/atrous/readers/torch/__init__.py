"""PyTorch modules and exported programs as networks."""
