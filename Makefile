# make demo | test | lint | bench | docs | docs-check: a virtual environment in .venv with the pinned set,
# then the work. make docs writes docs/_build/html; a script of the gallery runs again when it changed.
# make test-lowest: the tests with the lowest versions that pyproject.toml allows (torch's as pinned), in
# .venv-lowest; make test-newest: those with the newest there are, in .venv-newest; uv chooses them.
# make dist: sdist and wheel in dist/, checked; then a fresh .venv-dist, with the wheel, its extras plot and train,
# and pytest, runs the demo, the examples in docstrings, and the README as the sdist has it.
#
# Needs Python 3.11 or newer with venv, and make. Settings:
#   PYTHON=python3.12    the Python that .venv is made with
#   PIP_ARGS=...         more arguments for pip install. PyPI's torch for Linux brings gigabytes of
#                        CUDA libraries; without a GPU, spare them by
#                        make demo PIP_ARGS="--extra-index-url https://download.pytorch.org/whl/cpu"
#   ARGS=...             more arguments for the demo, the benchmark, or for pytest: make test ARGS="-k grid".
#                        Tests run in two processes, of one thread each; in one by ARGS="-n 0"

PYTHON ?= python3
PIP_ARGS ?=
ARGS ?=

VENV := .venv
DIST := $(abspath .venv-dist)
READY := $(VENV)/.ready
DOCS_READY := $(VENV)/.docs-ready
SPHINX := $(VENV)/bin/python -m sphinx -W --keep-going -q

.PHONY: demo test test-lowest test-newest dist lint bench docs docs-check

demo: $(READY)
	$(VENV)/bin/xearthformer demo $(ARGS)

test: $(READY)
	$(VENV)/bin/python -m pytest -n 2 --dist loadfile $(ARGS)

test-lowest: RESOLUTION := lowest-direct
test-newest: RESOLUTION := highest
test-lowest test-newest: test-%:
	[ -x .venv-$*/bin/pip ] || $(PYTHON) -m venv .venv-$*
	.venv-$*/bin/python -m pip install $(PIP_ARGS) uv
	sed -n '$(if $(filter lowest,$*),/^torch==/p)' constraints.txt > .venv-$*/pinned.txt
	.venv-$*/bin/uv pip install --python .venv-$*/bin/python --upgrade --resolution $(RESOLUTION) \
	  --index-strategy unsafe-best-match -c .venv-$*/pinned.txt $(PIP_ARGS) -e ".[all,dev]"
	.venv-$*/bin/python -m pytest -n 2 --dist loadfile $(ARGS)

dist: $(READY)
	rm -rf dist $(DIST)
	$(VENV)/bin/python -m pip install $(PIP_ARGS) -c constraints.txt twine
	$(VENV)/bin/python -m build
	$(VENV)/bin/python -m twine check --strict dist/*
	ls -l dist
	$(PYTHON) -m venv $(DIST)
	$(DIST)/bin/python -m pip install $(PIP_ARGS) -c constraints.txt "$$(echo dist/*.whl)[plot,train]" pytest
	mkdir dist/run && tar -xf dist/*.tar.gz -C dist/run --strip-components=1 && rm -r dist/run/xearthformer
	cd dist/run && $(DIST)/bin/xearthformer demo
	cd dist/run && $(DIST)/bin/python -m pytest --pyargs xearthformer tests/test_readme.py $(ARGS)

lint: $(READY)
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/mypy

bench: $(READY)
	$(VENV)/bin/python benchmarks/speed.py --extras $(ARGS)
	$(VENV)/bin/python benchmarks/roads.py
	$(VENV)/bin/python benchmarks/roads.py --pack enso-ersst
	$(VENV)/bin/python benchmarks/roads.py --precision bf16
	$(VENV)/bin/python benchmarks/hindcast.py --pack lim
	$(VENV)/bin/python benchmarks/growth.py
	$(VENV)/bin/python benchmarks/start.py

docs: $(DOCS_READY)
	$(SPHINX) -b html docs docs/_build/html $(ARGS)

# Links between pages and to the reference, the code of the pages, and the examples in docstrings.
docs-check: $(DOCS_READY)
	$(SPHINX) -b dummy -D plot_gallery=0 docs docs/_build/check
	$(VENV)/bin/python -m pytest -n 2 --dist loadfile -m "slow or not slow" tests/test_docs.py xearthformer $(ARGS)

$(DOCS_READY): $(READY)
	$(VENV)/bin/python -m pip install $(PIP_ARGS) -c constraints.txt -e ".[docs]"
	touch $@

# The set-up is one recipe behind one stamp: make -j runs it once, and a change of the pinned set
# runs it again. A second make beside the first waits for it where flock is at hand.
LOCK := $(shell command -v flock >/dev/null 2>&1 && echo flock .venv.lock)

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "xearthformer needs Python 3.11 or newer, found: $$($(PYTHON) --version 2>&1)"; \
	  echo "name one by: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@$(LOCK) sh -euc '\
	  if [ "$@" -nt pyproject.toml ] && [ "$@" -nt constraints.txt ]; then exit 0; fi; \
	  [ -x $(VENV)/bin/pip ] || "$(PYTHON)" -m venv $(VENV); \
	  $(VENV)/bin/python -m pip install $(PIP_ARGS) -c constraints.txt -e ".[all,dev]"; \
	  touch $@'
