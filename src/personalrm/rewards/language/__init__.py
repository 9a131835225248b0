"""Reward models on a language model that is trained."""
