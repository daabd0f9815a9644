"""What the kernel says and does."""
