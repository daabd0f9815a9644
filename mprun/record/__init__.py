"""What is left of a run: its events, and all that writes, reads and keeps them."""
