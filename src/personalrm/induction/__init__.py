"""SynthesizeMe: from context pairs to a personal prompt, what grows and edits one, the search for the persona prompt."""
