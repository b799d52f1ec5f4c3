"""Parse responses: a result, or an exception. No I/O."""
