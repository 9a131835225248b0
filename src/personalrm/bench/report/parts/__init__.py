"""The parts of the report, a file each, named as their anchor in the page."""
