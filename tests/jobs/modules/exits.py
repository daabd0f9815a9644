"""Exits at import."""

import sys

sys.exit("wrong machine")
