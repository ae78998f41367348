# SPDX-License-Identifier: Apache-2.0
# The doors to the project; setup.py does the compiling. `make help` lists the targets.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules --no-print-directory
.DEFAULT_GOAL := all

PREFIX ?= /usr/local
DESTDIR ?=
# A python3 earlier in PATH may be a shim that is slow to start or that cannot be embedded.
PYTHON ?= $(firstword $(wildcard /usr/bin/python3) python3)
PYOCI_LAUNCHER ?=
CC := gcc
CROSS ?= aarch64-linux-gnu-
export CC PYOCI_LAUNCHER

B := build
VENV := $(B)/venv
RUN := $(VENV)/bin/python
PIP := $(RUN) -m pip --quiet --disable-pip-version-check --no-input
REQUIREMENTS := packaging/requirements.txt packaging/requirements-dev.txt

SOURCES := $(shell find pyoci csrc schema -type f -not -name '*.pyc') setup.py pyproject.toml
PY_SOURCES := pyoci setup.py $(wildcard schema/*.py csrc/native/*.py)
C_SOURCES := $(wildcard csrc/*.h csrc/*/*.h csrc/*/*.c tests/*/*.c bundles/*.c bundles/*/*.c)
INIT_SOURCES := $(wildcard csrc/init/*.c)
STRICT := -std=gnu11 -D_GNU_SOURCE -O2 -Wall -Wextra -Werror

.PHONY: all help deps deps-test venv bundles demo test check check-ruff check-mypy check-c check-aarch64 check-format \
	sanitize install uninstall clean

all: $(B)/.built bundles ## build everything; the runtime is build/pyoci

help: ## this list
	@sed -nE 's/^([a-z][a-z0-9-]*):.*## (.*)/\1|\2/p' Makefile | while IFS='|' read -r name text; do \
		printf '  %-14s %s\n' "$$name" "$$text"; done

# --- what is needed -------------------------------------------------------------------------------------------------

deps: ## install the system packages that building needs (Debian, Ubuntu; elsewhere: name them)
	@packaging/deps.sh build

deps-test: ## install those that the tests need too
	@packaging/deps.sh build test

venv: $(VENV)/.stamp ## make build/venv with the pinned Python packages

$(VENV)/.stamp: $(REQUIREMENTS)
	@mkdir -p $(B)
	@test -x $(RUN) || $(PYTHON) -m venv $(VENV) || \
		{ echo "make: $(PYTHON) cannot make a virtual environment; run: make deps" >&2; rm -rf $(VENV); exit 1; }
	$(PIP) install -r packaging/requirements-dev.txt
	@touch $@

# --- building -------------------------------------------------------------------------------------------------------

$(B)/.built: $(VENV)/.stamp $(SOURCES)
	@$(RUN) -W ignore setup.py -q build --build-base $(B)/setup --build-temp $(B)/setup --build-lib $(B)/lib
	@$(RUN) -m compileall -q $(B)/lib
	@install -m 755 $(B)/setup/pyoci $(B)/.pyoci && mv $(B)/.pyoci $(B)/pyoci
	@touch $@

bundles: $(B)/.built ## build the sample bundles and pods under build/bundles
	@if [ -f bundles/Makefile ]; then $(MAKE) -C bundles; else echo "make: bundles/ is not there yet: skipped"; fi

# --- running --------------------------------------------------------------------------------------------------------

demo: ## install what is needed, build, and run the sample pod (as root)
	@$(MAKE) deps
	@$(MAKE) all
	@bundles/demo.sh

test: ## everything: deps, build, linters, then all tests (as root); the last line counts the tests
	@$(MAKE) deps-test
	@$(MAKE) all
	@$(MAKE) check
	@$(RUN) -m pytest -q tests

# --- linters --------------------------------------------------------------------------------------------------------

check: check-ruff check-mypy check-c check-aarch64 check-format ## all linters

check-ruff: $(VENV)/.stamp ## ruff: lint and format of all Python
	@$(VENV)/bin/ruff check -q --cache-dir $(B)/ruff .
	@$(VENV)/bin/ruff format -q --check --cache-dir $(B)/ruff .

check-mypy: $(VENV)/.stamp ## mypy --strict
	@$(VENV)/bin/mypy --no-error-summary $(PY_SOURCES)

check-c: $(VENV)/.stamp ## C and assembly with all warnings as errors
	@$(CC) $(STRICT) -fsyntax-only -Icsrc -Icsrc/native $(wildcard csrc/native/*.c csrc/init/*.c)

check-aarch64: ## cross-compile init and pause for aarch64
	@mkdir -p $(B)/aarch64
	@$(CROSS)gcc $(STRICT) -static -Icsrc $(INIT_SOURCES) -o $(B)/aarch64/pyoci-init
	@$(CROSS)gcc -nostdlib -static -s -Wl,--build-id=none -Wl,-T,csrc/pause/pause.ld csrc/pause/pause_aarch64.S \
		-o $(B)/aarch64/pause

check-format: $(VENV)/.stamp ## clang-format
	@$(VENV)/bin/clang-format --dry-run -Werror $(C_SOURCES)

clean: ## remove all that was built
	rm -rf $(B)
