"""The programs of the peers: each is copied beside the targets and started as a script."""
