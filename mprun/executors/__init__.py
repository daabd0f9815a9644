"""Who runs the attempts: one small interface, one module for each way."""
