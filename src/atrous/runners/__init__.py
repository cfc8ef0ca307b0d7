"""A model and arrays in, arrays out."""
