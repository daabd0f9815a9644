"""The functions that the recipes under `jobs/` run, one file for each idea of the tutorial."""
