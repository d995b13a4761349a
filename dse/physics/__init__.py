"""Pure functions on arrays: one published relation each, checkable with a pencil."""
