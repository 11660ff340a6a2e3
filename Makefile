# Two commands do everything: `make run` and `make test`. Both set up what they need in .venv.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help run run-gpu doctor test check bench clean

help:
	@echo "make run      set up and serve on http://localhost:8080 (PORT, HOST)"
	@echo "make run-gpu  the same with the GPU front end's packages"
	@echo "make doctor   say what would be used for front end, STT, TTS, LLM, ICE, and why"
	@echo "make test     set up everything the tests need and run them all"
	@echo "make check    ruff, mypy --strict, JavaScript type check"
	@echo "make bench    measure turn latency through real WebRTC, turn-taking, age of the oracle; writes docs/bench"

run: $(VENV)/.run
	@exec $(PY) -m app

run-gpu: $(VENV)/.gpu
	@exec $(PY) -m app

doctor: $(VENV)/.run
	@$(PY) -m app doctor

test: $(VENV)/.test $(VENV)/.node
	@tests/setup-browser.sh
	@tests/setup-turn.sh
ifdef TESTS
	$(PY) -m pytest $(TESTS)
else
	$(PY) -m pytest tests/unit -n 2 --dist worksteal
	$(PY) -m pytest tests/integration -m "not alone" -n 3 --dist loadfile  # calls in real time mostly wait
	$(PY) -m pytest tests/browser -m "not alone"
	$(PY) -m pytest tests/integration tests/browser -m alone  # they measure time: with nothing beside them
endif

check: $(VENV)/.test $(VENV)/.node
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(PY) tests/node.py node_modules/typescript/bin/tsc -p jsconfig.json

bench: $(VENV)/.dev
	$(PY) -m tests.bench.oracle_age
	$(PY) -m tests.bench.full_duplex
	$(PY) -m tests.bench.turn_latency

clean:
	rm -rf $(VENV) node_modules

$(PY):
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "KAME voice needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Try: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.run: requirements.txt | $(PY)
	$(PY) -m pip install -q -r requirements.txt
	@touch $@

$(VENV)/.dev: requirements-dev.txt $(VENV)/.run
	$(PY) -m pip install -q -r requirements-dev.txt
	@touch $@

$(VENV)/.gpu: requirements-gpu.txt $(VENV)/.run
	$(PY) -m pip install -q -r requirements-gpu.txt
	$(PY) -m pip install -q --no-deps moshi==0.2.13
	@touch $@

# All of it in one go: resolved once, and compiled only where it is imported.
$(VENV)/.test: requirements.txt requirements-dev.txt requirements-gpu.txt | $(PY)
	$(PY) -m pip install -q --no-compile $(addprefix -r ,$^)
	$(PY) -m pip install -q --no-compile --no-deps moshi==0.2.13
	@touch $(VENV)/.run $(VENV)/.dev $(VENV)/.gpu $@

$(VENV)/.node: package.json package-lock.json $(VENV)/.dev
	$(PY) tests/node.py npm ci --no-fund --no-audit --silent
	@touch $@
