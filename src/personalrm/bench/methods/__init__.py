"""The rows of the benchmark: one table, and how each kind of row learns, knows its users and judges."""
