"""What the Linux kernel reports about processes and ports, and its calls that Python does not wrap."""
