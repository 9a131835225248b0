"""Variational preference learning (paper 5.1): a user's choices become a latent vector, a decoder reads it."""
