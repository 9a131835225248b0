"""Trained reward models, one file a method; torch is imported inside, by the extra `train`."""
