"""Stride for dilation and back, on networks as data: plans, edits or refusals, and proofs."""
