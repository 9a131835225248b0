"""The database of people, and files that are there whole or not at all."""
