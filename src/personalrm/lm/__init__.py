"""The one door to language models: protocol, servers, cache, retries, limits, budgets, usage."""
