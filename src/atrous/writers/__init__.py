"""Plans into models: the mirror of readers."""
