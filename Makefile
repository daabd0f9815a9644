# Everything from a clone, with nothing but Python >= 3.11, pip, git and make.
# PYTHON=... chooses the default Python; each Python has a virtual environment of its own.

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo test test-newest bench reliability pictures man docs dist lint format pytest lock clean

VERSIONS := 3.11 3.12 3.13 3.14 3.15
CHECK := python=$$(tools/python) && "$$python" tools/check.py

# The tests start thousands of short processes from an editable install: without
# __pycache__ each of them would compile mprun anew.
unexport PYTHONDONTWRITEBYTECODE

help:    ## this list
	@sed -n 's/^\([a-z-]*\): *## */  make \1	/p' Makefile | expand -t 20

demo:    ## install into .venv and run jobs/demo.yaml
	@tools/venv .venv
	.venv/bin/mprun -v jobs/demo.yaml

test:    ## lint, types and import contract, then the tests on every installed Python
	@$(CHECK) lint tests $(VERSIONS)

test-newest:  ## the tests with the newest version of every dependency, not the pinned ones
	@$(CHECK) newest

bench:   ## mprun beside hand-written scripts and other runners, a quarter of an hour; ARGS='--only start-up'
	@tools/bench-env $(VERSIONS)
	.venv-bench/bin/python -m benchmarks $(ARGS)

reliability:  ## what docs/faults.md promises, measured; ARGS='--only kills --rounds 10000 --jobs 3'
	@tools/venv .venv test hosts
	.venv/bin/python benchmarks/reliability $(ARGS)

pictures:  ## docs/pictures/, from a real run; needs chromium, chromium-driver, npm; ARGS=--all makes all of them anew
	@tools/venv .venv test once hosts
	@tools/browser
	.venv/bin/python tools/pictures $(ARGS)

man:     ## docs/mprun.1, the manual page, from the help of the commands
	@tools/venv .venv
	.venv/bin/python tools/man_page.py

docs:    ## the site from docs/ into build/site; a warning is an error
	@tools/venv .venv docs
	.venv/bin/python -m sphinx -W --keep-going -q -E -a -b html -d build/doctrees docs build/site

dist:    ## the wheel and the source distribution of the last commit into dist/, the same bytes each time
	@tools/venv .venv release
	.venv/bin/python tools/dist.py

lint:    ## ruff, mypy, and the contract of imports
	@$(CHECK) lint

format:  ## fix what ruff can fix
	@tools/venv .venv lint
	.venv/bin/ruff check --fix
	.venv/bin/ruff format

pytest:  ## the tests on the default Python alone; ARGS='-k name -x' goes to pytest
	@tools/venv .venv test once hosts docs release
	.venv/bin/python -m pytest $(ARGS)

lock:    ## pin the environment of tests and lint anew: constraints.txt
	@tools/lock

clean:   ## remove environments, caches and what was built
	rm -rf .lanes .venv .venv-3.* .venv-newest .venv-bench* .mprun .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist
	find . -name __pycache__ -prune -exec rm -rf {} +
