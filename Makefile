# make read | book | test | lab.  Real data and longer runs: make book PROFILE=laptop DATA=path/to/data
PROFILE ?= quick
DATA ?= $(or $(GEN_DATA_ROOT),data)
PYTHON ?= python3
PY := .venv/bin/python
INSTALL := -r requirements.txt -c constraints.txt
# TORCH=cpu: PyTorch's own build for processors, on Linux without the 4 GB of libraries for NVIDIA's cards.
TORCH ?=
UV_TORCH := $(if $(TORCH),--torch-backend $(TORCH))
PIP_TORCH := $(if $(TORCH),--extra-index-url https://download.pytorch.org/whl/$(TORCH))

.PHONY: read book lab test test-quick lint bench lock clean

# The book from the kept long runs: nothing is run.
read: .venv/.ready
	$(PY) -m gen_utils read --data "$(DATA)"

# The same first, then every part as it runs here, beside it.
book: .venv/.ready
	$(PY) -m gen_utils book --profile $(PROFILE) --data "$(DATA)"

lab: .venv/.ready
	GEN_DATA_ROOT="$(abspath $(DATA))" $(PY) -m gen_utils lab

# Three processes on two cores, since each waits now and then for what it starts (tests/conftest.py).
test: .venv/.ready
	$(PY) -m pytest -n 3 --dist loadfile --no-loadscope-reorder

# The book as `make book` builds it without data, and what its parts recorded.
test-quick: .venv/.ready
	$(PY) -m pytest -m quick_book

lint: .venv/.ready
	$(PY) -m ruff check . && $(PY) -m ruff format --check . && .venv/bin/lint-imports && $(PY) lint/type_errors.py

bench: .venv/.ready
	$(PY) benchmarks/samplers.py
	GEN_DATA_ROOT="$(DATA)" $(PY) benchmarks/data.py
	$(PY) benchmarks/pictures.py

# The environment: uv when it is there, plain venv and pip when not. Made again when what it needs changes.
.venv/.ready: requirements.txt constraints.txt
	@if command -v uv >/dev/null 2>&1; then \
	  uv venv --quiet --allow-existing --python '>=3.11' .venv && uv pip install --quiet --python $(PY) $(UV_TORCH) $(INSTALL); \
	else \
	  $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	    || { echo "Python 3.11 or newer is needed; name one with make PYTHON=/path/to/python3.12"; exit 1; }; \
	  $(PYTHON) -m venv .venv && $(PY) -m pip install --quiet --disable-pip-version-check $(PIP_TORCH) $(INSTALL); \
	fi
	@touch $@

lock:
	uv pip compile --quiet --universal --python-version 3.11 --no-header --no-annotate requirements.txt -o constraints.txt

clean:
	rm -rf _build runs notebooks/*.ipynb
