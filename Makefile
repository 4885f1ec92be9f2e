# make sweep: set-up, then the 29-configuration sweep on this machine, then its tables.
# make test:  set-up, then linters, types, import contracts and tests.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

ENGINES := .venv-engines
AXE_CORE := 4.14.1

.PHONY: help sweep smoke test test-pages test-cluster test-engines docs truth bench lint clean
help:
	@sed -n 's/^# make/make/p' Makefile

sweep: $(VENV)/.installed
	$(BIN)/python -m raybench.sweep $(ARGS)

# make smoke: the same for the small plan: every strategy once, without verdicts.
smoke: $(VENV)/.installed
	$(BIN)/python -m raybench.sweep --plan smoke $(ARGS)

test: lint
	$(BIN)/python -m pytest -n 2 --dist loadfile -rs $(ARGS)

# make test-pages: what README and docs say to type, from installing raybench on (some minutes).
test-pages: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -m pages -n 2 -rs $(ARGS)

# make test-cluster: `ray up` to `ray down` on machines of namespaces, on a fake AWS too (some minutes; needs root, sshd).
test-cluster: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -m cluster -rs $(ARGS)

# make test-engines: servers of vLLM and llama.cpp, on packages of their own in .venv-engines (minutes; 3 GB the first time).
test-engines: $(VENV)/.installed-dev
	$(BIN)/python tests/engines/install.py $(ENGINES)
	$(BIN)/python -m pytest -m engines -rs $(ARGS)

# make docs: the pages of docs/ as a site in build/site; a broken link is an error.
docs: $(VENV)/.installed-docs
	$(BIN)/zensical build --clean --strict

# make truth: hold the statistics against simulated truth, at full size (some minutes).
truth: $(VENV)/.installed-dev
	$(BIN)/python benchmarks/truth.py $(ARGS)

# make bench: every benchmark that benchmarks/README.md tells of, and its raw figures (an hour and a half; ARGS=--list).
bench: $(VENV)/.installed-bench
	$(BIN)/python benchmarks/all.py --leave-out equal-things tables-3e8 beside-vllm-bench $(ARGS)

# make lint: ruff, mypy and import-linter alone.
lint: $(VENV)/.installed-dev
	$(BIN)/ruff check src tests benchmarks jobs
	$(BIN)/ruff format --check src tests benchmarks jobs
	$(BIN)/mypy
	$(BIN)/lint-imports

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; name one: make PYTHON=python3.12 ..."; exit 2; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "Installing what the sweep needs into $(VENV) (a few minutes the first time)"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	@echo "Installing what the tests need into $(VENV)"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@rm -rf $(VENV)/axe-core && mkdir $(VENV)/axe-core && cd $(VENV)/axe-core && npm pack --silent axe-core@$(AXE_CORE) >/dev/null \
		&& tar xzf axe-core-*.tgz || echo "No axe-core by npm: tests of whether everybody can read a page will be skipped"
	@touch $@

$(VENV)/.installed-docs: $(VENV)/.installed
	@echo "Installing what the site needs into $(VENV)"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
	@touch $@

$(VENV)/.installed-bench: $(VENV)/.installed-dev
	@echo "Installing what the benchmarks need into $(VENV)"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[bench]'
	@touch $@

# make clean: remove the set-up (not the runs).
clean:
	rm -rf $(VENV) $(ENGINES)
