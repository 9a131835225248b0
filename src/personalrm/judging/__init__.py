"""Who decides between two completions: the embedded engine, a language model, what both do with a person."""
