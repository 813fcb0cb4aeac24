# Everything that a user or CI runs. `make gate ARGS="--variants int4"` passes options on.
PYTHON ?= python3
VENV   ?= .venv
ARGS   ?=
ifeq ($(OS),Windows_NT)
BIN := $(VENV)/Scripts
else
BIN := $(VENV)/bin
endif

# A marker says what a test needs; CONTRIBUTING.md has the tiers that follow.
FAST  := not (toolchain or foundry or process or slow or scale or alone)
TESTS := "$(BIN)/python" -m pytest tests/ -n auto --dist worksteal

.PHONY: help install lock gate test-fast test test-all lint types format bench demo-model clean
.DEFAULT_GOAL := help

help:         ## this list
	@grep -E '^[a-z-]+: .*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

install: $(VENV)/.installed  ## make the environment, with the versions of constraints.txt

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -c "import sys; sys.exit('slm-gate needs Python 3.11 or newer, this is ' + sys.version.split()[0] if sys.version_info < (3, 11) else 0)"
	$(PYTHON) -m venv "$(VENV)"
	"$(BIN)/python" -m pip install --quiet --upgrade "pip>=25.1"
	"$(BIN)/python" -m pip install --quiet --constraint constraints.txt --editable . --group dev
	@touch "$@"

lock:         ## renew constraints.txt: the newest versions that pyproject.toml allows
	rm -rf build/lock
	$(PYTHON) -m venv build/lock
	$(subst $(VENV),build/lock,"$(BIN)/python") -m pip install --quiet --upgrade "pip>=25.1"
	$(subst $(VENV),build/lock,"$(BIN)/python") -m pip install --quiet --editable . --group dev
	sed '/^[^#]/d' constraints.txt > build/constraints.txt
	$(subst $(VENV),build/lock,"$(BIN)/python") -m pip freeze --exclude-editable >> build/constraints.txt
	mv build/constraints.txt constraints.txt

gate: install  ## run the acceptance gate on the demo model
	"$(BIN)/python" -m pytest suites/ $(ARGS)

test-fast: install  ## run the harness's own tests that need neither toolchain nor time
	$(TESTS) -m "$(FAST)" $(ARGS)

test: install  ## run all of them but the slow ones
	$(TESTS) -m "not (slow or scale)" $(ARGS)

test-all: install  ## run all of them, as CI does
	$(TESTS) -m "not scale" $(ARGS)

lint: install  ## ruff
	"$(BIN)/ruff" format --check .
	"$(BIN)/ruff" check .

types: install  ## mypy
	"$(BIN)/mypy"

format: install  ## put the code into shape
	"$(BIN)/ruff" format .
	"$(BIN)/ruff" check --fix .

bench: install  ## measure what the harness says of itself (hours, on a machine with nothing else to do)
	"$(BIN)/python" benchmarks/overhead.py --write
	"$(BIN)/python" benchmarks/leaks.py --write
	"$(BIN)/python" benchmarks/regression.py --write
	"$(BIN)/python" benchmarks/performance.py --write

demo-model: install  ## train the demo model again (about half an hour on two cores)
	"$(BIN)/slm-gate" toolchain fixtures/data/demo/training/build.py --out fixtures/data/demo $(ARGS)

clean:        ## remove the environment
	rm -rf "$(VENV)" build *.egg-info
