"""The programs that the peers run: each is copied beside the targets and started as a script."""
