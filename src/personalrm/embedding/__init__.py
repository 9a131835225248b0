"""Texts to vectors, and the store that makes each vector once."""
