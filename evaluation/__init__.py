"""Comparison of predictors with each other and with labels: predictors, comparison, plots, interleaved timing."""
