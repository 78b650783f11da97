# make demo    train on the embedded digits, evaluate, draw samples and completions
# make test    lint, check types, test
# make reproduce RECIPE=mnist-diagonal-1x32
#              repeat an MNIST row of docs/results.md: train (or resume a stopped run), evaluate, draw samples and
#              completions; downloads the data unless $PIXELRNN_DATA holds it
# make docs    draw the figures, build the documentation into site/
# make wheel   build a wheel into dist/, with the compiled libraries if there is a compiler
# make clean   remove .venv, runs, site and dist
# make help    print these lines
# Each target installs what it needs into .venv; demo and reproduce need less. `make PYTHON=python3.12 …` chooses the
# interpreter.

PYTHON ?= python3
BIN := .venv/bin
INSTALL := $(BIN)/pip install --quiet --constraint constraints.txt
COMPILED := hatch_build.py src/pixelrnn/ops/build.py $(wildcard src/pixelrnn/ops/csrc/*)

ifeq ($(MAKECMDGOALS)$(RECIPE),reproduce)
$(error RECIPE is not set. Name one: make reproduce RECIPE=mnist-diagonal-1x32)
endif

.PHONY: demo test reproduce docs wheel clean help

demo: .venv/train
	rm -rf runs/demo
	$(BIN)/pixelrnn train digits --run runs/demo
	@echo "--- the model, and the two baselines that it must beat"
	$(BIN)/pixelrnn evaluate runs/demo --split valid --split test
	$(BIN)/python benchmarks/digits_baselines.py
	@echo "--- pictures"
	$(BIN)/pixelrnn sample runs/demo --out runs/demo/samples.png
	$(BIN)/pixelrnn complete runs/demo --out runs/demo/completions.png

reproduce: .venv/train
	$(BIN)/pixelrnn train $(if $(wildcard runs/$(RECIPE)/checkpoints/last.ckpt),--resume runs/$(RECIPE),$(RECIPE))
	$(BIN)/pixelrnn evaluate runs/$(RECIPE) --split valid --split test
	$(BIN)/pixelrnn sample runs/$(RECIPE) --n 100 --out runs/$(RECIPE)/samples.png --overwrite
	$(BIN)/pixelrnn complete runs/$(RECIPE) --split test --n 12 --out runs/$(RECIPE)/completions.png --overwrite

docs: .venv/all
	$(BIN)/pixelrnn explain --out docs/figures --overwrite
	$(BIN)/mkdocs build --strict
	@echo "to read it: $(BIN)/python -m http.server --directory site"

test: .venv/all
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/clang-format --dry-run -Werror src/pixelrnn/ops/csrc/*
	$(BIN)/mypy
	$(BIN)/pytest -n auto

wheel: .venv/torch
	$(BIN)/pip wheel --quiet --no-deps --wheel-dir dist .

# Install torch alone first, so that no other package chooses its build.
.venv/torch: constraints.txt
	$(PYTHON) -m venv .venv
	$(INSTALL) torch
	touch $@

.venv/train: .venv/torch pyproject.toml $(COMPILED)
	$(INSTALL) --editable '.[train]'
	touch $@

# All extras, including train.
.venv/all: .venv/torch pyproject.toml $(COMPILED)
	$(INSTALL) --editable '.[compress,demo,dev,docs,heif,hf,train]'
	touch .venv/train $@

clean:
	rm -rf .venv runs site dist

help:
	@sed -n -e '/^$$/q' -e 's/^# \{0,1\}//p' Makefile
