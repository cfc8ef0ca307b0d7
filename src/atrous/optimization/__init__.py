"""A model that computes the same, faster: exact strategies, measured layer by layer."""
