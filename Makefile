# Two commands are enough: `make demo` shows the main job, `make test` checks everything.
# PIP_ARGS passes options to pip, for instance the small CPU build of torch:
#   make demo PIP_ARGS="--extra-index-url https://download.pytorch.org/whl/cpu"

SHELL := /bin/sh
.DEFAULT_GOAL := help

SUPPORTED := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))
PYTHON ?= $(shell for python in python3.11 python3.12 python3.13 python3; do \
	if $$python -c '$(SUPPORTED)' 2>/dev/null; then echo $$python; break; fi; done)
PIP_ARGS ?=
WORKERS ?= 2

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
INSTALL := $(PIP) install --quiet --constraint constraints.txt $(PIP_ARGS)

# Software GL gives the same picture on every machine.
TEST_ENV := LIBGL_ALWAYS_SOFTWARE=1 QT_API=pyqt6 QT_QPA_PLATFORM=xcb
XVFB := xvfb-run --auto-servernum --server-args="-screen 0 1600x1000x24 +extension GLX"
# pytest-xvfb gives every worker a virtual display of its own.
PYTEST := $(TEST_ENV) $(BIN)/python -m pytest

.PHONY: help demo test lint pytest sample-data docs docs-pictures wheel clean

help:  ## Show this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 16

demo: $(VENV)/.installed-demo  ## Install into .venv and run the main job on a synthetic scan
	$(BIN)/napari-medmeta demo --output demo-output

test: $(VENV)/.installed-test  ## Install what the tests need, then lint, type-check and test everything
	@sh scripts/system_packages.sh display
	@$(MAKE) --no-print-directory lint pytest

lint: $(VENV)/.installed-test  ## Check style, types and import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Parallel workers share the cores, so each keeps to one thread. Stop-watches run alone.
PARALLEL := OMP_NUM_THREADS=1 $(PYTEST) -n $(WORKERS) --dist worksteal

pytest: $(VENV)/.installed-test  ## Run the tests under a virtual display
	$(PARALLEL) -m "not gui and not timing"
	$(PARALLEL) -m "gui and not timing"
	$(PYTEST) -m timing

sample-data: $(VENV)/.installed-demo  ## Write the synthetic scans of sample_data/ again
	$(BIN)/python scripts/make_sample_data.py

docs: $(VENV)/.installed-test  ## Build the pages of docs/ into site/
	$(BIN)/mkdocs build --strict --quiet
	@echo "Wrote site/index.html"

docs-pictures: $(VENV)/.installed-test  ## Render the pictures of README and docs/ again
	$(BIN)/python examples/docs_pictures.py
	@sh scripts/system_packages.sh display
	$(TEST_ENV) $(XVFB) $(BIN)/python examples/panel_picture.py

# setuptools packs what earlier builds left in build/, modules that are gone among it.
wheel: $(VENV)/.installed-test  ## Build a wheel into dist/
	rm -rf build
	$(PIP) wheel --quiet --no-deps --no-build-isolation --wheel-dir dist .

clean:  ## Remove everything that was built or installed here
	rm -rf $(VENV) build dist site demo-output htmlcov .coverage .mypy_cache .ruff_cache .pytest_cache .hypothesis
	rm -rf .import_linter_cache *.egg-info

$(BIN)/python:
	@sh scripts/make_venv.sh "$(PYTHON)" $(VENV)

$(VENV)/.installed-demo: pyproject.toml constraints.txt | $(BIN)/python
	$(INSTALL) --editable '.[all]'
	@touch $@

$(VENV)/.installed-test: pyproject.toml constraints.txt | $(BIN)/python
	$(INSTALL) --editable '.[test,peers]'
	@touch $@ $(VENV)/.installed-demo
