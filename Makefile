# `make help` lists the targets. They need Python 3.11 or later and nothing else. Everything goes into .venv, pinned by
# constraints.txt.
#
# To work on the code, an editable installation is quicker than `make`:
#
#     python3 -m venv .venv
#     .venv/bin/pip install -c constraints.txt -e ".[dev]" --config-settings editable_mode=strict
#     .venv/bin/pytest -m "not slow"
#
# The strict mode puts links to the files into a folder below build/, where Python, mypy and IDEs find the package as any
# other. Repeat the command after you add, move or delete a module or a data file. To check types, start mypy in build/:
#
#     cd build && ../.venv/bin/mypy --config-file ../pyproject.toml -p haaqi_edge
#
# Without `--config-settings` the package is found by an import hook. Python and pytest work, and new files are seen at
# once, but mypy and IDEs do not find `haaqi_edge`.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
PACKAGES := $(patsubst %/__init__.py,%,$(wildcard */__init__.py))
SOURCES := pyproject.toml setup.py constraints.txt $(shell find $(PACKAGES) demo -type f -not -path '*/__pycache__/*')
PYCLARITY := pyclarity==0.9.0

# Builds happen in environments of their own; the pins hold there too.
export PIP_CONSTRAINT := $(abspath constraints.txt)

.DEFAULT_GOAL := help
.PHONY: help demo test lint types check fast bare lowest docs outputs figures report web web-test lock clean

help:  ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | awk -F'\t' '{ printf "make %-9s %s\n", $$1, $$2 }'

demo: $(VENV)/.demo  ## set up and score a clip with the shipped model
	@echo "== A listener with the moderate hearing loss N3, music amplified for it (NAL-R)"
	$(BIN)/haaqi-edge score demo/clean.flac demo/degraded.flac --audiogram N3 --nal-r

test: lint types check bare lowest  ## set up and run all checks
	@echo "== all passed"

lint: $(VENV)/.test  ## check style and format
	@echo "== lint"
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# In build/, since mypy would take the checkout's folder haaqi_edge, one module, for the package.
types: $(VENV)/.test  ## check the types of the installed package
	@echo "== types of the installed package"
	cd build && ../$(BIN)/mypy --config-file ../pyproject.toml -p haaqi_edge

# The coverage is that of the tests' own processes; commands that tests start are not counted.
check: $(VENV)/.test  ## run all tests, and print the coverage
	@echo "== tests of the installed package"
	OMP_NUM_THREADS=1 $(BIN)/pytest -n auto --dist loadfile --cov --cov-report=
	$(BIN)/coverage report --format=total | sed 's/.*/== coverage: & % of the statements; coverage report lists them/'

fast: $(VENV)/.test  ## run the tests that are not slow, in less than two minutes
	OMP_NUM_THREADS=1 $(BIN)/pytest -n auto --dist loadfile -m "not slow"

# In an empty environment: no torch, no onnx, no scipy, and it scores.
bare: $(VENV)/.test  ## install the wheel alone and score a clip
	@echo "== the wheel alone"
	rm -rf $(VENV)-bare
	$(PYTHON) -m venv $(VENV)-bare
	$(VENV)-bare/bin/python -m pip --disable-pip-version-check --quiet install "$$(ls build/wheel/*.whl)[cpu,cli]"
	$(VENV)-bare/bin/python -c "import importlib.util as u; \
	  found = [m for m in ('torch', 'onnx', 'librosa', 'scipy') if u.find_spec(m)]; assert not found, found"
	cd demo && ../$(VENV)-bare/bin/haaqi-edge score clean.flac --audiogram N3 --nal-r
	rm -rf $(VENV)-bare

lowest: $(VENV)/.test  ## install the wheel with the lowest versions of its dependencies: the score must not change
	@echo "== the wheel with the lowest versions of its dependencies"
	rm -rf $(VENV)-lowest
	$(PYTHON) -m venv $(VENV)-lowest
	$(PYTHON) .ci/lowest.py requirements cpu cli > build/lowest.txt
	PIP_CONSTRAINT= $(VENV)-lowest/bin/python -m pip --disable-pip-version-check --quiet install \
	  -r build/lowest.txt build/wheel/*.whl
	for folder in $(VENV) $(VENV)-lowest; do \
	  $$folder/bin/haaqi-edge score demo/clean.flac --audiogram N3 --nal-r --json --frames > build/score$$folder.json || exit 1; done
	$(PYTHON) .ci/lowest.py compare build/score$(VENV).json build/score$(VENV)-lowest.json
	rm -rf $(VENV)-lowest

# The scripts of the gallery run as well, if they or the models changed.
docs: $(VENV)/.test  ## build the documentation into build/docs; warnings are errors
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

outputs: $(VENV)/.test  ## write the outputs of the code blocks in README.md and docs/, after a change of the models
	HAAQI_EDGE_UPDATE_DOCS=1 OMP_NUM_THREADS=1 $(BIN)/pytest tests/docs -k test_code_blocks_run

figures: $(VENV)/.test  ## write the README's tables and pictures from docs/report and the model card
	$(BIN)/python -m haaqi_edge.benchmarks.report.readme

# On a quiet machine. An interrupted report is resumed.
report: $(VENV)/.test  ## measure the report: make report MUSIC=folder
	@test -n "$(MUSIC)" || (echo "make report MUSIC=folder: give the folder of the music that training/table was made from" && exit 2)
	$(BIN)/haaqi-edge bench all -o build/report --music "$(MUSIC)" --table training/table $(if $(REFERENCE),--reference "$(REFERENCE)")
	$(BIN)/python -m haaqi_edge.benchmarks.report.readme build/report

# If its sources have changed, this needs Node.js 20.19 or later.
web: $(VENV)/.test  ## build the page of `haaqi-edge web`
	$(BIN)/python web/build.py

# In Node.js, a headless Chromium and a headless Firefox (with pulseaudio). MUSIC=folder scores clips of it, too; PICTURES=1 takes the README's pictures.
web-test: $(VENV)/.test  ## compare the page with Python
	$(BIN)/python web/test/oracle.py build/web $(if $(MUSIC),--music $(abspath $(MUSIC)))
	cd web && npm ci && npm run types && npm run unit && HAAQI_EDGE=$(abspath $(BIN)/haaqi-edge) npm run e2e

lock:  ## write constraints.txt with the newest releases
	rm -rf $(VENV)-lock && $(PYTHON) -m venv $(VENV)-lock
	PIP_CONSTRAINT= $(VENV)-lock/bin/python -m pip install --quiet ".[dev,openvino]"
	PIP_CONSTRAINT= $(VENV)-lock/bin/python -m pip install --quiet --no-deps $(PYCLARITY)
	(echo "# What \`make\` installs, to the version. Made by: make lock"; \
	  $(VENV)-lock/bin/python -m pip freeze --all --exclude pip --exclude haaqi-edge | sed 's/+cpu//' | sort -fu) > constraints.txt
	rm -rf $(VENV)-lock

clean:  ## delete all that make has written
	rm -rf $(VENV) $(VENV)-bare $(VENV)-lowest build *.egg-info web/node_modules

$(VENV)/.made:
	@echo "== creating $(VENV)"
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
	@echo "== installing the wheel with all extras, and pyclarity, which tests compare with (PyTorch alone takes a few minutes)"
	$(PIP) install "$$(ls build/wheel/*.whl)[dev]"
	$(PIP) install --no-deps --force-reinstall build/wheel/*.whl
	$(PIP) install --no-deps $(PYCLARITY)
	@touch $@ $(VENV)/.demo
