"""The plugin for pytest: `pytest --mprun jobs/` runs each job file as a test."""
