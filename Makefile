# Everything that is run by hand or by CI. `make` lists it.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
STAMP := .venv/.stamp
# A file's tests share what they set up: one process runs them all. tests/conftest.py says which files go first.
TOGETHER := -n auto --dist loadfile --no-loadscope-reorder --durations=15 --durations-min=10
CODE := traces pipeline models flows

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help demo test check bench validate docs lock clean

help:  ## list the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

# A bare venv and pip: the libraries as locked, then the four packages as they lie here.
$(STAMP): requirements.txt pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --no-deps --require-hashes -r requirements.txt
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	$(BIN)/python -m pip check
	$(BIN)/python -m compileall -q $(CODE)
	touch $@

demo: $(STAMP)  ## replay a recorded capture and compare with theory
	$(BIN)/strata demo

test: $(STAMP)  ## all tests, then those of kernels again with bounds checks
	$(BIN)/pytest $(TOGETHER)
	NUMBA_BOUNDSCHECK=1 $(BIN)/pytest $(TOGETHER) -m kernels

check: $(STAMP)  ## style, types, layers, generated docs
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m flows.tables --check

bench: $(STAMP)  ## benchmarks
	$(BIN)/pytest benchmarks -o "python_files=bench_*.py" --benchmark-columns=min,median,rounds -s

validate: $(STAMP)  ## the page-mapped drive against closed forms and published figures
	$(BIN)/python -m pipeline.ftl.validate

docs: $(STAMP)  ## write the generated docs
	$(BIN)/python -m flows.tables

lock: $(STAMP)  ## resolve pyproject.toml and requirements.in anew into requirements.txt
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-header \
	  --no-emit-index-url --extra dev -o requirements.txt pyproject.toml requirements.in

clean:  ## remove the environment, caches and the demo's store
	rm -rf .venv data .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .benchmarks
	find $(CODE) tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
