"""What mprun costs beside what it replaces and what else there is: `make bench`.

`place` and `peers` say what is run, `measuring` and `watching` how, `rows` what is asked; `figures` makes
ratios and verdicts of it, `table` and `picture` show them. docs/speed.md defines every figure.
"""
