"""The embedded engine: 24 features, the population, the weights of each user, what can be said of them."""
