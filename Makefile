# Set-up happens by itself: every target makes .venv as it needs it.
#   make demo   run the digits recipe end to end and name the report to open
#   make test   run the tests
#   make test-processors   run the numeric ones as on other processors
#   make lint   ruff and mypy
#   make docs   write docs/cli.md
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
# The two FAISS builds overwrite each other: the GPU one only where an NVIDIA GPU is.
FAISS := $(shell command -v nvidia-smi >/dev/null 2>&1 && nvidia-smi -L >/dev/null 2>&1 && echo gpu || echo cpu)

# Instruction sets that PyTorch, oneDNN, MKL and OpenBLAS are held to; each decides the last bits.
SSE := ATEN_CPU_CAPABILITY=default ONEDNN_MAX_CPU_ISA=SSE41 MKL_CBWR=COMPATIBLE OPENBLAS_CORETYPE=Nehalem
AVX2 := ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 MKL_CBWR=AVX2 OPENBLAS_CORETYPE=Haswell

.PHONY: demo test test-processors test-sse test-avx2 lint docs clean

demo: .venv/.installed
	$(BIN)/curate run digits

test: .venv/.test
	$(BIN)/python -m pytest -n 2 --dist loadgroup

test-processors: test-sse test-avx2

test-sse: .venv/.test
	$(SSE) $(BIN)/python -m pytest -n 2 --dist loadgroup -m numeric

test-avx2: .venv/.test
	$(AVX2) $(BIN)/python -m pytest -n 2 --dist loadgroup -m numeric

lint: .venv/.lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: .venv/.docs
	$(BIN)/python -m tests.generate_cli_docs

.venv/.installed: pyproject.toml setup.py
	@echo "Installing curate into .venv: PyTorch is large, so that this takes minutes."
	$(PYTHON) -m venv .venv
# Groups of dependencies need pip 25.1; a new .venv of Python 3.11 has 23.
	$(PIP) 'pip>=25.1'
	$(PIP) --editable '.[$(FAISS)]'
	touch $@

# What a group of pyproject.toml names, beside curate itself.
.venv/.test .venv/.lint .venv/.docs: .venv/.%: .venv/.installed
	$(PIP) --group $*
	touch $@

clean:
	rm -rf .venv build dist *.egg-info .mypy_cache .ruff_cache
