"""Building a benchmark: stages from raw preferences to a dataset folder (paper, section 4 and appendix C)."""
