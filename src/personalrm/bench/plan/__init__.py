"""What is to be run: the run file, its settings, and the cells that follow from them."""
