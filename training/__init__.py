"""Corpus, degradations, HAAQI labels and fitting."""
