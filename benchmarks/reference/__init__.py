"""Methods as their papers' code loops them, for benchmarks and tests; written from reward_models.md, line by line."""
