"""The nouns: messages, pairs, users, personas, demonstrations, personal prompts, verdicts, splits."""
