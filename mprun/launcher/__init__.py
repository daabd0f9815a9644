"""The main process of a job, and the worker inside each task's process."""
