"""GPO (paper 5.1): a user's choices are the context of a small transformer."""
