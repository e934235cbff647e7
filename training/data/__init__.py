"""Rows of the label table, and their sounds, labels and features."""
