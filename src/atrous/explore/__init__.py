"""The interactive page: edit a stack and see what it reads, costs, and how to mend it."""
