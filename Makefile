# make demo: set up and score a clip with the shipped model.   make test: set up and pass the tests.
# Both need Python 3.11 or later and nothing else; everything goes into .venv, pinned by constraints.txt.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
PACKAGES := $(patsubst %/__init__.py,%,$(wildcard */__init__.py))
SOURCES := pyproject.toml setup.py constraints.txt $(shell find $(PACKAGES) -type f -not -path '*/__pycache__/*')
PYCLARITY := pyclarity==0.9.0

# Builds happen in environments of their own; the pins hold there too.
export PIP_CONSTRAINT := $(abspath constraints.txt)

.PHONY: demo test lint types check bare figures report web web-test lock clean

demo: $(VENV)/.demo
	@echo "== A listener with the moderate hearing loss N3, music amplified for it (NAL-R)"
	$(BIN)/haaqi-edge score demo/clean.flac demo/degraded.flac --audiogram N3 --nal-r

test: lint types check bare
	@echo "== all passed"

lint: $(VENV)/.test
	@echo "== lint"
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.test
	@echo "== types of the installed package"
	$(BIN)/mypy -p haaqi_edge

check: $(VENV)/.test
	@echo "== tests of the installed package"
	OMP_NUM_THREADS=1 $(BIN)/pytest -n auto --dist loadfile

# The wheel alone, in an empty environment: no torch, no onnx, no librosa, and it scores.
bare: $(VENV)/.test
	@echo "== the wheel alone"
	rm -rf $(VENV)-bare
	$(PYTHON) -m venv $(VENV)-bare
	$(VENV)-bare/bin/python -m pip --disable-pip-version-check --quiet install "$$(ls build/wheel/*.whl)[cpu,cli]"
	$(VENV)-bare/bin/python -c "import importlib.util as u; \
	  found = [m for m in ('torch', 'onnx', 'librosa', 'scipy') if u.find_spec(m)]; assert not found, found"
	cd demo && ../$(VENV)-bare/bin/haaqi-edge score clean.flac --audiogram N3 --nal-r
	rm -rf $(VENV)-bare

# The figures and the pictures of the README, from docs/report.
figures: $(VENV)/.test
	$(BIN)/python -m haaqi_edge.benchmarks.report.readme

# The report itself, on a quiet machine: make report MUSIC=folder. Stopped, it goes on where it was.
report: $(VENV)/.test
	@test -n "$(MUSIC)" || (echo "make report MUSIC=folder: the music that training/table is cut from" && exit 2)
	$(BIN)/haaqi-edge bench all -o build/report --music "$(MUSIC)" --table training/table $(if $(REFERENCE),--reference "$(REFERENCE)")
	$(BIN)/python -m haaqi_edge.benchmarks.report.readme build/report

# The page of `haaqi-edge web`, with the shipped nano; Node.js 20.19 or later where its sources have changed.
web: $(VENV)/.test
	$(BIN)/python web/build.py

# The page against Python, in Node.js and in a headless Chromium; MUSIC=folder scores clips of it too, PICTURES=1 takes
# the README's pictures.
web-test: $(VENV)/.test
	$(BIN)/python web/test/oracle.py build/web $(if $(MUSIC),--music $(abspath $(MUSIC)))
	cd web && npm ci && npm run types && npm run unit && HAAQI_EDGE=$(abspath $(BIN)/haaqi-edge) npm run e2e

# New pins, from the newest releases.
lock:
	rm -rf $(VENV)-lock && $(PYTHON) -m venv $(VENV)-lock
	PIP_CONSTRAINT= $(VENV)-lock/bin/python -m pip install --quiet ".[dev]"
	PIP_CONSTRAINT= $(VENV)-lock/bin/python -m pip install --quiet --no-deps $(PYCLARITY)
	(echo "# What \`make\` installs, to the version. Made by: make lock"; \
	  $(VENV)-lock/bin/python -m pip freeze --all --exclude pip --exclude haaqi-edge | sed 's/+cpu//') > constraints.txt
	rm -rf $(VENV)-lock

clean:
	rm -rf $(VENV) $(VENV)-bare build *.egg-info web/node_modules

$(VENV)/.made:
	@echo "== making $(VENV)"
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and 'haaqi-edge needs Python 3.11 or later: make PYTHON=...')"
	$(PYTHON) -m venv $(VENV)
	@touch $@

build/wheel/.built: $(VENV)/.made $(SOURCES)
	@echo "== building the wheel"
	rm -rf build *.egg-info
	$(PIP) wheel --no-deps --wheel-dir build/wheel .
	@touch $@

$(VENV)/.demo: build/wheel/.built
	@echo "== installing the wheel and what it needs to run"
	$(PIP) install "$$(ls build/wheel/*.whl)[cpu,cli]"
	$(PIP) install --no-deps --force-reinstall build/wheel/*.whl
	@touch $@

$(VENV)/.test: build/wheel/.built
	@echo "== installing the wheel with all extras, and pyclarity, the oracle (PyTorch alone takes a few minutes)"
	$(PIP) install "$$(ls build/wheel/*.whl)[dev]"
	$(PIP) install --no-deps --force-reinstall build/wheel/*.whl
	$(PIP) install --no-deps $(PYCLARITY)
	@touch $@ $(VENV)/.demo
