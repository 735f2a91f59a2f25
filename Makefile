# Every target builds what it needs; `make` alone lists them.
# Options for the command behind a target go in ARGS: make report ARGS="-p dataset=mine"

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help setup report report-all check-fresh test test-all test-lowest lint lab bench clean

PYTHON ?=
ARGS ?=
AXE := 4.14.1
# Two workers are the quickest on two cores; notebooks need a worker to themselves, hence loadscope.
WORKERS ?= 2
TESTS ?= tests src notebooks

export PYTHON

# Tools keep caches in HOME; where there is no writable one they get one inside .venv.
ifneq ($(shell [ -d "$$HOME" ] && [ -w "$$HOME" ] && echo yes),yes)
export HOME := $(CURDIR)/.venv/home
endif

bin := .venv/bin
# JupyterLab asks to be told that root is meant; a container often has no other user.
as_root = $(if $(filter 0,$(shell id -u)),--allow-root)
pytest = -m pytest -rs -n $(WORKERS) --dist loadscope --nbval-lax $(TESTS)

# Two workers with threaded BLAS on two cores wait for each other: one thread each saves a third of the CPU time.
test test-all test-lowest: export OMP_NUM_THREADS := 1
test test-all test-lowest: export OPENBLAS_NUM_THREADS := 1

help:  ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' Makefile

setup:  ## Make .venv with all that reports, tests and linters need
	@sh tools/bootstrap.sh datasets dev peers

report:  ## Build the reports whose inputs changed into reports/site/index.html
	@sh tools/bootstrap.sh datasets
	@$(bin)/loyalty report $(ARGS)

report-all:  ## Build every report of reports/catalogue.yml
	@sh tools/bootstrap.sh datasets
	@$(bin)/loyalty report --all $(ARGS)

check-fresh:  ## Fail when a page is older than its inputs, or a number left its baseline
	@sh tools/bootstrap.sh datasets
	@$(bin)/loyalty report --check $(ARGS)
	@$(bin)/loyalty diff

test: axe  ## Run the tests, the doctests and the notebooks
	@$(bin)/python $(pytest) $(ARGS)

test-all: axe  ## Run the tests and the slow simulation proofs
	@$(bin)/python $(pytest) -m "slow or not slow" $(ARGS)

test-lowest: axe  ## Run the tests with the lowest versions that pyproject.toml allows
	@$(bin)/uv venv --quiet --allow-existing --python $(bin)/python .venv/lowest
	@$(bin)/uv pip install --quiet --python .venv/lowest/bin/python --resolution lowest-direct \
	    --editable '.[datasets,dev,peers]'
	@.venv/lowest/bin/python $(pytest) $(ARGS)

lint: setup  ## Check style, types and that notebooks are stored without outputs
	@$(bin)/ruff check
	@$(bin)/ruff format --check
	@$(bin)/mypy
	@find notebooks -name '*.ipynb' -not -path '*/.ipynb_checkpoints/*' \
	    -exec $(bin)/nbstripout --verify --keep-id {} +

lab:  ## Open JupyterLab at the notebooks
	@sh tools/bootstrap.sh datasets lab
	@$(bin)/jupyter lab --LabApp.default_url=/lab/tree/notebooks $(as_root) $(ARGS)

bench:  ## Run each performance claim of benchmarks/ against its peer
	@sh tools/bootstrap.sh datasets dev peers
	@failed=; for script in benchmarks/[!_]*.py; do \
	    [ -e "$$script" ] || { echo "benchmarks/ holds no script"; break; }; \
	    echo "== $$script"; $(bin)/python "$$script" $(ARGS) || failed="$$failed $$script"; \
	done; \
	[ -z "$$failed" ] || { echo "failed:$$failed" >&2; exit 1; }

clean:  ## Remove .venv, caches and built reports; data stay
	rm -rf .venv .pytest_cache .ruff_cache .mypy_cache .hypothesis reports/site reports/failed
	find src tests benchmarks tools -name __pycache__ -type d -prune -exec rm -rf {} +

# The accessibility rules that browser tests apply. Without npm those tests are skipped, and say so.
.PHONY: axe
axe: setup
	@if [ ! -s .venv/axe-$(AXE)/node_modules/axe-core/axe.min.js ] && command -v npm >/dev/null; then \
	    npm install --no-save --no-package-lock --ignore-scripts --no-audit --no-fund \
	        --no-update-notifier --loglevel=error --prefix .venv/axe-$(AXE) axe-core@$(AXE) >/dev/null || \
	        echo "axe-core $(AXE) could not be fetched: accessibility tests will be skipped" >&2; \
	fi
