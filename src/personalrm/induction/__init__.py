"""SynthesizeMe: from context pairs to a personal prompt, its growth and edits, the search for persona prompts."""
