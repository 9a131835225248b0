"""What is asked about personas rather than of judges: validity, concepts, flips, whether claims hold."""
