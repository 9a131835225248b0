"""Building a benchmark: stages from raw preferences to a dataset folder (specification, benchmark section 2)."""
