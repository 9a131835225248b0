"""Methods as their papers' code loops them, and the same training by TRL, for benchmarks and tests."""
