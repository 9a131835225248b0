"""What benchmarks beside peers share: environments, layouts, and the programs that run in them."""
