"""The functions that the recipes under `jobs/` run, one file per idea of the tutorial."""
