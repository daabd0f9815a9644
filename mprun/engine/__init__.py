"""The loop that runs a plan, and its parts."""
