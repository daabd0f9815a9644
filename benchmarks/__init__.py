"""What mprun costs beside hand-written scripts and other runners: `make bench`.

`place` and `peers` define what runs, `measuring` and `watching` how it is measured, and `rows` what is
measured; `figures` makes ratios and verdicts, `table` and `picture` show them. docs/speed.md defines
every figure.
"""
