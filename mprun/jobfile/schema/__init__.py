"""The shape of a job file, and the explanation of what breaks it."""
