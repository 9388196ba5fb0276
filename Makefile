# `make demo` and `make test` do everything on a fresh machine with Python >= 3.11 and make.

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
JOBS   ?= 2

.PHONY: demo test lint unit format env clean

demo: env
	$(BIN)/python benchmarks/demo.py

test: lint unit

lint: env
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python

unit: env
	$(BIN)/pytest -n $(JOBS) --dist loadgroup --durations 15

format: env
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

env: $(VENV)/.ready

$(VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[torch,examples,dev]'
	touch $@

clean:
	rm -rf $(VENV) demo dist build
