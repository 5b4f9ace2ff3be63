# Needs Python 3.11 or later, make and git; everything else is installed into $(VENV).
PYTHON ?= python3
VENV ?= .venv
DRAWS ?= 10000
BIN := $(VENV)/bin

.PHONY: help demo test test-all fuzz lint format docs matrix bench dist clean
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

help:
	@echo "make demo    a few rounds of active learning on handwritten digits"
	@echo "make test    the tests of every day with the doctests of package, README and docs, in minutes"
	@echo "make test-all  the rest: Ray and its faults, processes, examples, every class and every form"
	@echo "make fuzz    the layer rules on $(DRAWS) layers and nets drawn at random; DRAWS=... sets how many"
	@echo "make lint    ruff (rules and format), import-linter, mypy, and the rules of tests/lint.py"
	@echo "make format  let ruff rewrite what it can"
	@echo "make docs    the documentation, into docs/_build/html"
	@echo "make matrix  contract tests with several versions of scikit-learn and modAL"
	@echo "make bench   the benchmarks"
	@echo "make dist    the source distribution and the wheel, into dist"
	@echo "make clean   remove what the above wrote, but for $(VENV)"

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# One stamp an extra: installs run again only when pyproject.toml has changed.
$(VENV)/.installed-core: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install -e .
	@touch $@

$(VENV)/.installed-%: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install -e ".[$*]"
	@touch $@

demo: $(VENV)/.installed-core
	$(BIN)/skdal demo

test: $(VENV)/.installed-test
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow and not cuda"

test-all: $(VENV)/.installed-test
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "slow or cuda"

fuzz: $(VENV)/.installed-test
	SKDAL_FUZZ=$(DRAWS) $(BIN)/python -m pytest tests/gradients/test_fuzz.py tests/gradients/test_cuts.py

lint: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/python tests/lint.py
	$(BIN)/mypy

format: $(VENV)/.installed-test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/.installed-docs
	$(BIN)/python -m sphinx -W --keep-going -b html docs docs/_build/html

matrix: $(VENV)/.installed-test
	$(BIN)/python tests/matrix.py $(ENVS)

bench: $(VENV)/.installed-bench
	@set -e; for file in benchmarks/[a-z]*.py; do echo "== $$file"; $(BIN)/python $$file; done

dist: $(VENV)/.installed-test
	rm -rf build dist
	$(BIN)/python -m build

clean:
	rm -rf .matrix build dist *.egg-info .pytest_cache .hypothesis .ruff_cache .import_linter_cache
	rm -rf docs/_build docs/auto_examples docs/generated docs/sg_execution_times.rst skdal_demo
	find . -path ./$(VENV) -prune -o -name __pycache__ -type d -print0 | xargs -0 rm -rf
