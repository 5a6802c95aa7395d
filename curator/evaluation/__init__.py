"""Measures a run against the truth, and finds what is measured out: temperatures, thresholds, biases, prompts."""
