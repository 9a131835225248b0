"""The report of a run: one file a part, written as HTML, Markdown and tables."""
