"""Models, weights and data that are named by a line of text."""
