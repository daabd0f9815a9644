"""How attempts are run: a small interface, and a module for each implementation."""
