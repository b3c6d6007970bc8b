# make demo   set up everything, then see metatune at work on three real tasks
# make test   set up everything, then the checks and the tests
PYTHON ?= python3
VENV ?= .venv
RUN = $(VENV)/bin/python
# Two at a time: much of a test with Ray is waiting for its processes.
PYTEST = $(RUN) -m pytest -n 2 --dist worksteal

.PHONY: demo test test-all check clean

demo: $(VENV)/installed
	$(RUN) examples/demo.py

test: check
	$(PYTEST) -m "not slow"

test-all: check
	$(PYTEST)

check: $(VENV)/installed
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy

$(VENV)/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "metatune needs Python 3.11 or newer, this is " + sys.version)'
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --constraint constraints.txt torch
	PIP_CONSTRAINT=constraints.txt $(RUN) -m pip install --quiet --editable ".[test]"
	touch $@

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis demo
