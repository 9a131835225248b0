"""Reward models on the embeddings of a frozen encoder."""
