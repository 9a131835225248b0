"""The benchmark: methods as rows, run files and their plan, runs, results, reports, questions about personas."""
