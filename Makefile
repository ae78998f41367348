# SPDX-License-Identifier: Apache-2.0
# The targets of the project. setup.py compiles. `make help` lists the targets.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules --no-print-directory
.DEFAULT_GOAL := all

PREFIX ?= /usr/local
DESTDIR ?=
TESTS ?= tests/runtime
# Another python3 in PATH may be a shim that is slow to start or cannot be embedded.
PYTHON ?= $(firstword $(wildcard /usr/bin/python3) python3)
PYOCI_LAUNCHER ?=
MUSL_CC ?=
CC := gcc
CROSS ?= aarch64-linux-gnu-
export CC MUSL_CC PYOCI_LAUNCHER
unexport PYTHONPATH PYTHONHOME PYTHONDONTWRITEBYTECODE PYTHONSTARTUP

B := build
VENV := $(B)/venv
RUN := $(VENV)/bin/python
PIP := $(RUN) -m pip --quiet --disable-pip-version-check --no-input
REQUIREMENTS := packaging/requirements.txt packaging/requirements-dev.txt

SOURCES := $(shell find pyoci csrc schema -type f -not -name '*.pyc') setup.py pyproject.toml
PY_SOURCES := setup.py $(wildcard schema/*.py csrc/*.py csrc/*/*.py)
C_SOURCES := $(wildcard csrc/*.h csrc/*/*.h csrc/*/*.c tests/*/*.c bundles/*.c bundles/*/*.c)
INIT_SOURCES := $(wildcard csrc/init/*.c)
STRICT := -std=gnu11 -D_GNU_SOURCE -O2 -Wall -Wextra -Werror

.PHONY: FORCE built all help deps deps-test deps-vm venv bundles demo test test-vm check check-ruff check-mypy check-c check-aarch64 check-format \
	format sanitize install uninstall clean bench bench-docs bench-instructions hot

all: $(B)/.built bundles ## build everything; the runtime is build/pyoci

help: ## print this list
	@sed -nE 's/^([a-z][a-z0-9-]*):.*## (.*)/\1|\2/p' Makefile | while IFS='|' read -r name text; do \
		printf '  %-14s %s\n' "$$name" "$$text"; done

# --- what is needed -------------------------------------------------------------------------------------------------

deps: ## install the system packages for building (Debian, Ubuntu; elsewhere: list them)
	@packaging/deps.sh build

deps-test: ## install the system packages for building and testing
	@packaging/deps.sh build test

deps-vm: ## install what the virtual machine of test-vm needs
	@packaging/deps.sh vm

venv: $(VENV)/.stamp ## create build/venv with the pinned Python packages

$(VENV)/.stamp: $(REQUIREMENTS)
	@mkdir -p $(B)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "make: $(PYTHON) is missing or older than Python 3.11; run make deps, or name another by PYTHON=" >&2; exit 1; }
	@test -x $(RUN) || $(PYTHON) -m venv $(VENV) || \
		{ echo "make: $(PYTHON) cannot make a virtual environment; run: make deps" >&2; rm -rf $(VENV); exit 1; }
	$(PIP) install -r packaging/requirements-dev.txt
	@touch $@

# --- building -------------------------------------------------------------------------------------------------------

# The choice and the commit of the last build: another choice builds again.
export PYOCI_COMMIT := $(shell git --no-optional-locks describe --always --dirty --abbrev=12 --exclude='*' 2>/dev/null)
CHOICE := $(CC) $(MUSL_CC) $(PYOCI_LAUNCHER) $(PYOCI_COMMIT)
ifneq ($(CHOICE),$(file <$(B)/.choice))
$(B)/.built: FORCE
endif
FORCE:

$(B)/.built: $(VENV)/.stamp $(SOURCES)
	@flock $(B)/.lock $(MAKE) built

# Under a lock, because two makes may run at once. The stamp has the time of the start, so that files edited meanwhile count
# as newer.
built:
	@touch $(B)/.begun
	@$(RUN) -W ignore setup.py -q build --build-base $(B)/setup --build-temp $(B)/setup --build-lib $(B)/lib
	@$(RUN) -m compileall -q $(B)/lib
	@for program in pyoci-python pyoci; do \
		rm -f $(B)/.$$program; test ! -e $(B)/setup/$$program || install -m 755 $(B)/setup/$$program $(B)/.$$program; \
		test ! -e $(B)/.$$program || mv $(B)/.$$program $(B)/$$program; done
	@echo '$(CHOICE)' >$(B)/.choice
	@mv $(B)/.begun $(B)/.built

bundles: $(B)/.built ## build the sample bundles and pods under build/bundles
	@flock $(B)/.lock $(MAKE) -C bundles

# --- installing -----------------------------------------------------------------------------------------------------

# A directory with everything that pyoci imports besides the standard library.
LIBRARY = $(DESTDIR)$(PREFIX)/lib/pyoci
DROP_IN = $(DESTDIR)$(PREFIX)/share/containers/containers.conf.d/50-pyoci.conf

$(B)/deps/.stamp: $(VENV)/.stamp
	@rm -rf $(B)/deps
	$(PIP) install --no-compile --target $(B)/deps -r packaging/requirements.txt
	@touch $@

install: $(B)/.built $(B)/deps/.stamp ## install to DESTDIR/PREFIX (PREFIX=/usr/local)
	@rm -rf $(LIBRARY)
	@install -d $(DESTDIR)$(PREFIX)/bin $(LIBRARY) $(dir $(DROP_IN))
	@cp -R $(B)/deps/. $(B)/lib/pyoci $(LIBRARY)/
	@rm -rf $(LIBRARY)/bin $(LIBRARY)/.stamp
	@find $(LIBRARY) -name __pycache__ -prune -exec rm -rf {} +
	@$(RUN) -m compileall -q --invalidation-mode unchecked-hash -s "$(DESTDIR)" $(LIBRARY)
	@for program in $(notdir $(wildcard $(B)/pyoci-python) $(B)/pyoci); do \
		install -m 755 $(B)/$$program $(DESTDIR)$(PREFIX)/bin/.$$program; \
		mv $(DESTDIR)$(PREFIX)/bin/.$$program $(DESTDIR)$(PREFIX)/bin/$$program; done
	@sed 's,@PREFIX@,$(PREFIX),' packaging/pyoci.conf.in > $(DROP_IN)
	@chmod -R go-w $(LIBRARY) && chmod 644 $(DROP_IN)
	@echo "installed $(DESTDIR)$(PREFIX)/bin/pyoci"
	@echo "for podman: mkdir -p /etc/containers/containers.conf.d &&" \
		"ln -sf $(PREFIX)/share/containers/containers.conf.d/50-pyoci.conf /etc/containers/containers.conf.d/"

uninstall: ## remove what install has installed
	rm -rf $(DESTDIR)$(PREFIX)/bin/pyoci $(DESTDIR)$(PREFIX)/bin/pyoci-python $(LIBRARY) $(DROP_IN)

# --- running --------------------------------------------------------------------------------------------------------

demo: ## install packages, build, and run the sample pod (as root)
	@$(MAKE) deps
	@$(MAKE) all
	@bundles/demo.sh

test: ## install packages, build, run all tests and linters (as root); the last line counts them
	@$(MAKE) deps-test
	@$(MAKE) all
	@$(RUN) -m pytest -q tests

test-vm: deps-vm $(VENV)/.stamp ## tests on Debian 13 in a virtual machine: cgroup v2, systemd, AppArmor (as root; TESTS=...)
	@PYTHONPATH=tests $(RUN) -m vm $(TESTS)

# --- linters --------------------------------------------------------------------------------------------------------

check: check-ruff check-mypy check-c check-aarch64 check-format ## run all linters

check-ruff: $(VENV)/.stamp ## ruff: lint and format of all Python
	@$(VENV)/bin/ruff check -q --cache-dir $(B)/ruff .
	@$(VENV)/bin/ruff format -q --check --cache-dir $(B)/ruff .

# The built package, with the generated modules.
check-mypy: $(B)/.built ## mypy --strict
	@$(VENV)/bin/mypy --no-error-summary $(B)/lib/pyoci $(PY_SOURCES) | sed 's,^$(B)/lib/,,'

check-c: $(VENV)/.stamp ## C and assembly with all warnings as errors
	@$(CC) $(STRICT) -fsyntax-only -Icsrc -Icsrc/native $(wildcard csrc/native/*.c csrc/init/*.c)
	@$(CC) $(STRICT) -fsyntax-only -isystem$$($(RUN) -c 'import sysconfig; print(sysconfig.get_path("include"))') \
		-DPYOCI_PREFIX='""' -DPYOCI_STDLIB='""' -DPYOCI_DYNLOAD='""' -DPYOCI_LAYOUTS='{"", ""}' $(wildcard csrc/launcher/*.c)
	@$(CC) -Wall -Werror -c -Icsrc/pause csrc/pause/pause_$$(uname -m).S -o /dev/null

check-aarch64: ## cross-compile init and pause for aarch64
	@command -v $(CROSS)gcc >/dev/null || \
		{ echo "make: $(CROSS)gcc, the compiler for aarch64, is missing; run: make deps-test" >&2; exit 1; }
	@mkdir -p $(B)/aarch64
	@$(CROSS)gcc $(STRICT) -static -Icsrc $(INIT_SOURCES) -o $(B)/aarch64/pyoci-init
	@$(CROSS)gcc -nostdlib -static -s -Wl,--build-id=none -Wl,-T,csrc/pause/pause.ld csrc/pause/pause_aarch64.S \
		-o $(B)/aarch64/pause

check-format: $(VENV)/.stamp ## clang-format
	@$(VENV)/bin/clang-format --dry-run -Werror $(C_SOURCES)

format: $(VENV)/.stamp ## format Python and C
	@$(VENV)/bin/ruff format -q --cache-dir $(B)/ruff .
	@$(VENV)/bin/clang-format -i $(C_SOURCES)

# --- sanitizers -----------------------------------------------------------------------------------------------------
# pyoci-init runs in an empty root file system, which has no sanitizer library. In build/sanitize/pyoci-init, undefined behaviour
# therefore traps (SIGILL). The programs of tests/c/*.c run on the host with AddressSanitizer and UndefinedBehaviorSanitizer. Each
# of them includes the C file that it tests.

SANITIZED := $(patsubst tests/c/%.c,$(B)/sanitize/%,$(wildcard tests/c/*.c))

sanitize: $(B)/sanitize/pyoci-init $(SANITIZED) ## a trapping pyoci-init; build and run tests/c with ASan and UBSan
	@for program in $(SANITIZED); do ASAN_OPTIONS=detect_leaks=1 UBSAN_OPTIONS=halt_on_error=1 $$program; done

$(B)/sanitize/pyoci-init: $(INIT_SOURCES) $(wildcard csrc/init/*.h csrc/*.h csrc/*.def)
	@mkdir -p $(@D)
	@musl-gcc $(STRICT) -g -static -fsanitize=undefined -fsanitize-undefined-trap-on-error -idirafter /usr/include \
		-idirafter /usr/include/$$($(CC) -print-multiarch) -Icsrc $(INIT_SOURCES) -o $@

$(B)/sanitize/%: tests/c/%.c $(wildcard csrc/*/*.c csrc/*/*.h csrc/*.h csrc/*.def)
	@mkdir -p $(@D)
	@$(CC) $(STRICT) -g -O1 -fsanitize=address,undefined -fno-sanitize-recover=all -Icsrc -Icsrc/init -Icsrc/native \
		$< -o $@

# --- benchmarks -----------------------------------------------------------------------------------------------------

BENCH := PYTHONPATH=tests $(RUN) -m bench
PLOTTING := matplotlib==3.11.2
BENCHED := $(addprefix $(B)/bench/,floor peak instructions)

bench: $(B)/.built bundles $(BENCHED) ## measure pyoci, runc, crun and the kernel's floor (as root; ARGS=--smoke, --help)
	@$(BENCH) run $(ARGS)

bench-docs: $(B)/bench/venv/.stamp ## write docs/benchmarks.md and its plots from the last make bench
	@PYTHONPATH=tests $(B)/bench/venv/bin/python -m bench docs $(ARGS)

bench-instructions: $(B)/.built bundles $(BENCHED) ## count instructions again (as root; up to half an hour)
	@$(BENCH) instructions

hot: $(B)/.built ## record the functions that verbs call, for the layout of the image (as root)
	@$(RUN) csrc/launcher/record_hot.py $(B)/lib >/dev/null

$(B)/bench/%: tests/bench/%.c
	@mkdir -p $(@D)
	@musl-gcc $(STRICT) -static -s -idirafter /usr/include -idirafter /usr/include/$$($(CC) -print-multiarch) $< -o $@

$(B)/bench/venv/.stamp:
	@mkdir -p $(@D)
	@$(PYTHON) -m venv $(@D)
	@$(@D)/bin/python -m pip --quiet --disable-pip-version-check --no-input install $(PLOTTING)
	@touch $@

clean: ## remove everything that was built
	rm -rf $(B)
