"""Evaluation: what a model is worth, each measure in a file of its own."""
