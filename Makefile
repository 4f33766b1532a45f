# Sets up a locked environment in .venv, and runs the suite's main jobs in it.
PYTHON ?= python3
SUITE ?= sample
BIN := .venv/bin
READY := .venv/.ready

.PHONY: setup benchmark test test-all lint lab doctor sample-weights lock clean

benchmark: $(READY)  ## run a suite: make benchmark SUITE=name-or-path
	@$(BIN)/dfd run $(SUITE)

test: $(READY) lint  ## the quick tests
	@$(BIN)/pytest -m "not slow"

test-all: $(READY) lint  ## the slow ones too
	@$(BIN)/pytest

lint: $(READY)
	@$(BIN)/ruff check --quiet .

lab: $(READY)  ## JupyterLab on the notebooks
	@$(BIN)/jupyter lab notebooks

doctor: $(READY)  ## what is there, what is missing, and the remedy
	@$(BIN)/dfd doctor

sample-weights: $(READY)  ## train the sample detectors again
	@$(BIN)/python -m dfdlib.sample.train

setup: $(READY)

$(READY): requirements/lock.txt requirements/bootstrap.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' \
	  || { echo "Needs Python 3.11 to 3.13; $(PYTHON) is $$($(PYTHON) --version). Try: make PYTHON=python3.12"; exit 1; }
	@echo "Setting up .venv (about 8 GB, a few minutes the first time)"
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --require-hashes -r requirements/bootstrap.txt
	@# uv is much faster; pip follows where uv cannot reach the packages as this machine's pip is set up to.
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes --no-deps -r requirements/lock.txt \
	  || $(BIN)/python -m pip install --quiet --require-hashes --no-deps -r requirements/lock.txt
	@$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	@touch $(READY)

lock:  ## resolve again after a change of pyproject.toml
	$(BIN)/uv pip compile pyproject.toml --extra test --universal --fork-strategy fewest --python-version 3.11 \
	  --generate-hashes --no-emit-index-url --no-annotate --no-header --quiet -o requirements/lock.txt

clean:
	rm -rf .venv data/sample reports/sample
