"""Readers of a run's events: each shows or writes them in its own way."""
