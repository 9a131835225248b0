"""Language models: protocol, servers, kept answers, retries, limits, budgets, usage. Nothing else talks to them."""
