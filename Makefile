# Everything from a clone, with nothing but Python >= 3.11, pip and make.
# PYTHON=… chooses the default Python; each Python has a virtual environment of its own.

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo test bench reliability lint format pytest clean

VERSIONS := 3.11 3.12 3.13 3.14

# The tests start thousands of short processes from an editable install: without
# __pycache__ each of them would compile mprun anew.
unexport PYTHONDONTWRITEBYTECODE

help:    ## this list
	@sed -n 's/^\([a-z]*\): *## */  make \1	/p' Makefile | expand -t 20

demo:    ## install into .venv and run jobs/demo.yaml
	@tools/venv .venv
	.venv/bin/mprun -v jobs/demo.yaml

test:    ## lint, types and import contract, then the tests on every Python that is here
	@tools/check lint tests $(VERSIONS)

bench:   ## mprun beside hand-written scripts and other runners, ten minutes; ARGS='--only start-up'
	@tools/bench-env
	.venv-bench/bin/python -m benchmarks $(ARGS)

reliability:  ## what docs/faults.md promises, measured; ARGS='--only kills --rounds 10000 --jobs 3'
	@tools/venv .venv
	.venv/bin/python benchmarks/reliability $(ARGS)

lint:    ## ruff, mypy, and the contract of imports
	@tools/check lint

format:  ## let ruff mend what it can
	@tools/venv .venv lint
	.venv/bin/ruff check --fix
	.venv/bin/ruff format

pytest:  ## the tests on the default Python alone; ARGS='-k name -x' goes to pytest
	@tools/venv .venv test
	.venv/bin/python -m pytest $(ARGS)

clean:   ## remove environments, caches and what was built
	rm -rf .venv .venv-3.* .venv-bench .mprun .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist
	find . -name __pycache__ -prune -exec rm -rf {} +
