# The two commands a newcomer needs: `make demo` and `make test`.
PYTHON ?= python3
VENV ?= .venv
# For instance PIP_FLAGS="--extra-index-url https://download.pytorch.org/whl/cpu" for the CPU build of torch.
PIP_FLAGS ?=
BIN := $(VENV)/bin
# A file goes to one worker, whose modules share fixtures; the slow ones go first.
WORKERS := -n auto --dist loadfile --no-loadscope-reorder

# Each of the many processes that tests start would compile its modules anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo docs wheels test quick full test-gpu test-arm64 lint types unit format clean

demo: $(VENV)/.installed-demo
	$(BIN)/agfedge demo --out build/demo

# The site, in build/docs; every warning is an error.
docs: $(VENV)/.installed-docs
	$(BIN)/python -m sphinx -W -n --keep-going -q docs build/docs

# Both distributions, for other machines. setuptools would pack what an earlier build left in build/lib.
wheels: $(VENV)/bin/python
	rm -rf build/lib dist
	$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps -w dist ./runtime .

test: lint types unit

# In two minutes: something of every package, nothing that takes long.
quick: lint
	$(BIN)/python -m pytest $(WORKERS) -m "not slow and not full"

# What `make test` leaves out: more points to be killed at, more networks and more examples of what it tests.
full: $(VENV)/.installed-test
	$(BIN)/python -m pytest $(WORKERS) -m full

# What needs a CUDA device; elsewhere every test says why it is skipped.
test-gpu: $(VENV)/.installed-test
	$(BIN)/python -m pytest -m gpu

# Deploys to a Jetson's userland under emulation: Linux, as root; elsewhere the tests say what is missing.
test-arm64: $(VENV)/.installed-test
	$(BIN)/python -m pytest -m arm64 tests/arm64

lint: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/vermin --quiet --no-tips --violations --target=3.8- runtime/agfedge_runtime

types: $(VENV)/.installed-test
	$(BIN)/mypy

unit: $(VENV)/.installed-test
	$(BIN)/python -m pytest $(WORKERS)

format: $(VENV)/.installed-test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; ok = (3, 10) <= sys.version_info[:2] <= (3, 13); sys.exit(None if ok else "agfedge needs Python 3.10 to 3.13, got %d.%d: run `make PYTHON=python3.12`" % sys.version_info[:2])'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed-%: pyproject.toml runtime/pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_FLAGS) -c constraints.txt -e ./runtime -e '.[$*]'
	touch $@

clean:
	rm -rf build dist $(VENV)
