"""Passes over an exported graph."""
