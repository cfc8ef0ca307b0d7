"""What frameworks do that they do not promise: one file a framework."""
