"""What each op reads and makes, by op of the table."""
