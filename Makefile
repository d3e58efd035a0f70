# The two commands: `make demo` and `make test`. Both make .venv from nothing but Python 3.11 or newer.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: demo test lint docs bench format clean

test: export OMP_NUM_THREADS = 1  # two workers on two cores

demo: $(VENV)/installed
	$(BIN)/repana demo --output demo

test: $(VENV)/tested lint docs
	$(BIN)/python -m pytest -n 2 --dist worksteal -q
	$(BIN)/python -m pytest -q tests/wheel.py tests/documentation.py

lint: $(VENV)/tested
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(BIN)/pyright --pythonpath $(BIN)/python

docs: $(VENV)/tested
	$(BIN)/python -m sphinx -W -q -j auto -b html docs docs/_build/html

bench: $(VENV)/tested
	$(BIN)/python -m benchmarks

format: $(VENV)/tested
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and 'repana needs Python 3.11 or newer; try make PYTHON=python3.11')"
	$(PYTHON) -m venv $(VENV)
	$(PIP) --upgrade pip
	$(PIP) torch
	$(PIP) -e .
	touch $@

$(VENV)/tested: $(VENV)/installed
	$(PIP) --group test --group docs --group build
	cp tests/zoo/site/sitecustomize.py "$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')"
	touch $@

clean:
	rm -rf $(VENV) demo docs/_build docs/generated
