"""Being taken apart."""
