"""Rows of the label table, their sounds, labels and features."""
