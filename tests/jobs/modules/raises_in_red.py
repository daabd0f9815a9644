"""Raises what would colour a terminal."""

raise ValueError("\x1b[31mred\x1b[0m\n  and\rmore")
