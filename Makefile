# make lab opens the course, make test checks everything; both install what is missing.

SHELL := bash
PYTHON ?= python3
GPU ?= $(shell nvidia-smi -L 2>/dev/null | grep -q '^GPU' && echo 1 || echo 0)
LOCK := $(if $(filter 1,$(GPU)),requirements-gpu.lock,requirements.lock)
STAMP := .venv/.installed
INSTALLED := $(shell cat $(STAMP) 2>/dev/null)
TEST_STAMP := .venv/.installed-for-tests
BOOK_STAMP := .venv-book/.installed
PROXY := .venv/bin/configurable-http-proxy
LESSONS := $(sort $(wildcard notebooks/*.ipynb))
NBVAL = --nbval-lax --nbval-cell-timeout=1200
# Trials of one lesson do not wait for those of another, as those of two readers would.
PYTEST = $(VENV_PATH) LABKIT_TURNS=off .venv/bin/pytest --dist loadfile --no-loadscope-reorder

# Without it, uv downloads a Python of its own where the one it wants is missing.
export UV_PYTHON_DOWNLOADS := never

# Some images set it. Every process would then compile TensorFlow and Keras anew.
unexport PYTHONDONTWRITEBYTECODE

# Lesson cells that start a command (!python, !jupyter) must get those of .venv.
VENV_PATH = PATH="$(CURDIR)/.venv/bin:$$PATH"
FIND_UV = uv=$$(command -v uv) || { .venv/bin/pip install -q uv && uv=.venv/bin/uv; } || uv=
COMPILE = "$$uv" pip compile -q --universal --python-version 3.10 --no-annotate \
	--custom-compile-command "make lock" $(ARGS)

# How an installation that fails ends, chosen by what its commands printed.
NO_VENV = "Python's venv module is missing: install it (on Debian and Ubuntu," \
	"apt install $(notdir $(PYTHON))-venv), then run the same command again."
NO_ROOM = "There is no room left on the disk: the course takes about 3 GB$(if $(filter 1,$(GPU)), and the GPU libraries more)," \
	"so free some space, then run the same command again."
NO_NETWORK = "The packages could not be downloaded: check the network (and the proxy, if you need one)," \
	"then run the same command again."
OTHERWISE = "The installation failed for the reason above: once that is fixed, run the same command again."
VENV = *"No module named venv"*|*"No module named ensurepip"*|*"ensurepip is not"*
ROOM = *"No space left"*|*"uota exceeded"*
NETWORK = *"Failed to fetch"*|*"error sending request"*|*"network was disabled"*|*"Retrying ("*

# try shows what a command prints and keeps it for stop, which ends with one of these sentences. A full disk
# ends it at once, and the stamp goes: a half-written package would pass for an installed one.
INSTALLER = \
	try() { \
		said=$$(set -o pipefail; { "$$@" 2>&1 | tee /dev/fd/4 >&2; } 4>&1) && return; \
		case $$said in $(ROOM)) stop;; *) return 1;; esac; \
	}; \
	stop() { \
		case $$said in \
		$(ROOM)) rm -f $(STAMP); echo $(NO_ROOM);; \
		$(VENV)) echo $(NO_VENV);; \
		$(NETWORK)) echo $(NO_NETWORK);; \
		*) rm -f $@; [ -z "$$1" ] || echo "$$1"; echo $(OTHERWISE);; \
		esac >&2; exit 1; \
	}

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help install lab hub test lint test-code test-notebooks test-colab test-kaggle lessons minutes folklore book gpu-check address lock clean FORCE

help:  ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo 'Settings: PYTHON=python3.12 (for a new .venv), GPU=0 or GPU=1 (which lock), ARGS=... (lab, book, lock, gpu-check)'

install: $(STAMP)  ## Install the course into .venv, at the locked versions

lab: $(STAMP)  ## Open JupyterLab on the first lesson (ARGS=--no-browser only starts the server)
	@$(VENV_PATH) .venv/bin/python scripts/lab.py $(ARGS)

hub: $(TEST_STAMP) $(PROXY)  ## Try a class on this machine: JupyterHub, on the loopback address only
	@$(VENV_PATH) .venv/bin/python scripts/hub.py

# More processes than cores: lessons and tests wait a lot, for TensorFlow at each out of memory.
# The lessons come first, as they take longest.
test: $(TEST_STAMP) $(if $(shell command -v npm),$(PROXY))  ## Run every check; one that fails does not hide the others
	@$(MAKE) --no-print-directory lint; code=$$?; $(PYTEST) -n 6 $(NBVAL) $(LESSONS) tests && exit $$code

lint: $(TEST_STAMP)  ## Check style and format of code and notebooks, and that rooms import only from below
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/lint-imports --no-cache --no-logo

test-code: $(TEST_STAMP) $(if $(shell command -v npm),$(PROXY))  ## Run the tests in tests/
	$(PYTEST) -n 3 tests

test-notebooks: $(TEST_STAMP)  ## Run the lessons and compare their checked cells
	$(PYTEST) -n 2 $(NBVAL) $(LESSONS)

test-colab:  ## Try labs and lessons with Colab's packages, in an environment of their own
	@$(PYTHON) scripts/hosted.py colab $(LESSONS)

test-kaggle:  ## The same with Kaggle's packages
	@$(PYTHON) scripts/hosted.py kaggle $(LESSONS)

lessons: $(TEST_STAMP)  ## Run lessons and save them with their outputs (LESSONS=notebooks/03-...ipynb for one)
	$(VENV_PATH) .venv/bin/python scripts/save_lessons.py $(LESSONS)
	@$(MAKE) --no-print-directory folklore

folklore: $(TEST_STAMP)  ## Write what the saved lessons show of each claim into lesson 12 and docs/folklore.md
	.venv/bin/python scripts/folklore.py

minutes: $(STAMP)  ## Compute how long the lessons take, for the table in workshop/README.md
	.venv/bin/python scripts/lesson_minutes.py --write

book: $(BOOK_STAMP)  ## Build the web book from the saved lessons, docs/ and workshop/, in build/book/html
	@.venv-book/bin/python scripts/book.py $(ARGS)

gpu-check:  ## On a machine with an NVIDIA GPU, try what the course says of GPUs
	@nvidia-smi -L 2>/dev/null | grep -q '^GPU' || \
		{ echo "There is no NVIDIA GPU here: nvidia-smi -L lists none."; exit 2; }
	@$(MAKE) --no-print-directory GPU=1 install
	.venv/bin/python benchmarks/gpu/check.py $(ARGS)

address:  ## Set the project's address in all badges, links and cells (REPO=owner/name)
	@$(PYTHON) scripts/address.py "$(REPO)"

lock: | .venv/bin/pip  ## Write the locks after a change of pyproject.toml (ARGS=--upgrade for the newest)
	@$(FIND_UV); set -e; \
	$(COMPILE) --extra lab --extra tf -o requirements.lock pyproject.toml; \
	$(COMPILE) --extra lab --extra gpu -c requirements.lock -o requirements-gpu.lock pyproject.toml; \
	$(COMPILE) --extra lab --extra test -c requirements.lock -o requirements-test.lock pyproject.toml; \
	$(COMPILE) --extra book -o requirements-book.lock pyproject.toml

$(PROXY): | $(STAMP)
	@command -v npm >/dev/null || { echo "JupyterHub's proxy needs Node.js: install npm, then run this again."; exit 1; }
	npm install --global --prefix .venv --silent configurable-http-proxy@5

clean:  ## Remove .venv and everything else that make made
	rm -rf .venv .venv-book .venv-colab .venv-kaggle .pytest_cache .ruff_cache .hypothesis build dist *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/bin/pip:
	@command -v $(PYTHON) >/dev/null || \
		{ echo "There is no $(PYTHON) here: try make install PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(None if (3, 10) <= v[:2] <= (3, 13) else \
		"labkit needs Python 3.10 to 3.13, but $(PYTHON) is %d.%d: try make install PYTHON=python3.12" % v[:2])'
	@$(INSTALLER); \
	said=$$($(PYTHON) -m venv --clear --without-pip .venv 2>&1 && \
		.venv/bin/python -I -m ensurepip --default-pip 2>&1) || stop "$$said"

# A .venv without the stamp is what an installation that stopped halfway has left: start again.
ifeq ($(INSTALLED),)
.venv/bin/pip: FORCE
endif

# The stamp holds the lock's name: with the other one (GPU=0, GPU=1) it is out of date.
ifneq ($(INSTALLED),$(LOCK))
$(STAMP): FORCE
endif
$(STAMP): $(LOCK) pyproject.toml | .venv/bin/pip
	@$(INSTALLER); $(FIND_UV); \
	if [ -n "$$uv" ] && try "$$uv" pip sync --compile-bytecode -p .venv $(LOCK) && try "$$uv" pip install -q -p .venv --no-deps -e .; \
	then :; else \
		echo "Installing with pip instead of uv, which takes some minutes."; \
		{ [ ! -e $@ ] || grep -qx $(LOCK) $@ || .venv/bin/pip uninstall -q -y tensorflow tensorflow-cpu; }; \
		try .venv/bin/pip install $${uv:+--force-reinstall} --no-deps -r $(LOCK) && \
		try .venv/bin/pip install -q --no-deps -e . || stop; \
	fi; \
	said=$$({ .venv/bin/jupyter labextension disable "@jupyterlab/apputils-extension:announcements" && \
		echo $(LOCK) > $@; } 2>&1) || stop "$$said"

# What only the tests need comes on top, and leaves the TensorFlow that is there.
$(TEST_STAMP): requirements-test.lock $(STAMP)
	@$(INSTALLER); $(FIND_UV); \
	if [ -n "$$uv" ] && try "$$uv" pip install --compile-bytecode -q -p .venv --no-deps -r $<; \
	then :; else try .venv/bin/pip install $${uv:+--force-reinstall} --no-deps -r $< || stop; fi; \
	touch $@

# The book needs neither TensorFlow nor the course, so it has a small environment of its own.
$(BOOK_STAMP): requirements-book.lock
	@$(INSTALLER); said=$$($(PYTHON) -m venv --clear .venv-book 2>&1) || stop "$$said"; \
	try .venv-book/bin/pip install -q --disable-pip-version-check --no-deps -r $< || stop; \
	touch $@
