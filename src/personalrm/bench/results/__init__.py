"""What a run has found: its folder, records, evaluation, summary and comparison with another run."""
