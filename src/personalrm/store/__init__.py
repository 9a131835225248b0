"""The home folder: versions of personal prompts that are there whole or not at all."""
