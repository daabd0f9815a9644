"""The main process of a job, which starts its tasks, and the worker in the process of each task."""
