# Everything runs in .venv, which the first command makes with Python 3.11 or 3.12.
SHELL := bash

# Versions that are installed. `CONSTRAINTS=` takes whatever pyproject.toml admits.
CONSTRAINTS ?= constraints.txt
# The interpreter to make .venv with; found when it is not given.
PYTHON ?=
CONFIG ?= conf/cheetah.yaml
TEST_PROCESSES ?= auto
KILLS ?= 20
KILL_PROCESSES ?= 1

BIN := .venv/bin
INSTALLED := .venv/.installed

.DEFAULT_GOAL := help
.PHONY: help demo test slow kill-test check format clean

help: ## list the commands
	@sed -n 's/^\([a-z-]*\):[^#]*## /\1\t/p' Makefile | expand -t 12

demo: $(INSTALLED) ## train and evaluate on the cheetah data that comes along
	$(BIN)/lawm fit --config $(CONFIG)

test: $(INSTALLED) ## run the fast tests
	$(BIN)/pytest -q -n $(TEST_PROCESSES)

slow: $(INSTALLED) ## run the tests that take minutes
	$(BIN)/pytest -q -m slow

kill-test: $(INSTALLED) ## kill and resume a run KILLS times; it must end as if nobody had touched it
	$(BIN)/python tests/kill_harness.py --kills $(KILLS) --processes $(KILL_PROCESSES)

check: $(INSTALLED) ## all that CI demands: format, lint, types, fast tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pytest -q -n $(TEST_PROCESSES)

format: $(INSTALLED) ## format the code and fix what the linter can
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

clean: ## remove the environment, caches and builds; keep runs
	rm -rf .venv build dist src/*.egg-info .mypy_cache .pytest_cache .ruff_cache
	find benchmarks callbacks data_modules src tests -name __pycache__ -prune -exec rm -rf {} +

# An environment that is there already is used as it is, with the torch that it has if that fits.
$(INSTALLED): pyproject.toml $(CONSTRAINTS)
	@$(BIN)/python -m pip --version > /dev/null 2>&1 || { $(make_environment); }
	$(BIN)/python -m pip install $(if $(CONSTRAINTS),-c $(CONSTRAINTS)) -e '.[collect,video,lerobot,dev]'
	@touch $@

# Each candidate is tried: a pyenv shim may exist for a version that is not active.
candidates = $(if $(PYTHON),type -P "$(PYTHON)",type -aP python3.11 python3.12 python3; \
	ls -d "$${PYENV_ROOT:-$$HOME/.pyenv}"/versions/3.1[12].*/bin/python)

define make_environment
while IFS= read -r python; do \
	"$$python" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))' \
		2> /dev/null && exec "$$python" -m venv .venv; \
done < <({ $(candidates); } 2> /dev/null); \
echo "lawm needs Python 3.11 or 3.12 with its venv and ensurepip modules;" \
	"$(if $(PYTHON),$(PYTHON) is none,there is none on the PATH)." \
	"Install it (Debian, Ubuntu: python3.11 and python3.11-venv) or name it: make PYTHON=..." >&2; \
exit 1
endef
