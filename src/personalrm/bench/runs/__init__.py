"""A run of the benchmark: its file and plan, the folder it fills cell by cell, its numbers."""
