# Everything runs in .venv, which is made when it is missing or pyproject.toml has changed.
PYTHON ?= python3
BIN := .venv/bin
export MLFLOW_DISABLE_TELEMETRY := true

.PHONY: help install demo test lint format docs bench fuzz clean

help:
	@echo "make demo    the small-big story on digits, with a table (TRITON=1: against a real Triton)"
	@echo "make test    every test in two processes, with branch coverage"
	@echo "make lint    ruff, formatting, mypy and the walls between rooms"
	@echo "make format  let ruff format and fix"
	@echo "make docs    the documentation site, in build/docs (its gallery runs)"
	@echo "make bench   every benchmark, and docs/benchmarks anew (ARGS=local: one of them)"
	@echo "make fuzz    fuzz what reads a server's bytes, a minute for each reader (Linux)"

install: .venv/installed

.venv/installed: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[dev]"
	touch $@

.venv/demo: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[examples]"
	touch $@

demo: .venv/demo
	$(BIN)/python examples/quickstart.py $(if $(TRITON),--triton)

test: install
	$(BIN)/python -m pytest --cov --cov-report=term -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

lint: install
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m mypy
	$(BIN)/lint-imports

format: install
	$(BIN)/python -m ruff check --fix .
	$(BIN)/python -m ruff format .

# The second build writes each page as Markdown beside it; the first has judged the warnings.
docs: install
	$(BIN)/python -m sphinx -q -W --keep-going -b html -d build/doctrees docs build/docs
	$(BIN)/python -m sphinx -Q -b markdown -d build/doctrees docs build/docs
	@echo "build/docs/index.html"

bench: install
	$(BIN)/python benchmarks/bench.py $(ARGS)

.venv-fuzz/installed:
	$(PYTHON) -m venv .venv-fuzz
	.venv-fuzz/bin/python -m pip install --quiet --disable-pip-version-check "atheris>=2.3" numpy
	touch $@

fuzz: .venv-fuzz/installed
	.venv-fuzz/bin/python -m tests.fuzz $(ARGS)

clean:
	rm -rf .venv .venv-fuzz dist build docs/gallery .coverage* .pytest_cache .mypy_cache .ruff_cache .hypothesis
