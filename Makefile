# make demo    train on the embedded digits, evaluate, draw samples and completions
# make test    lint, check types, test
# Both install what they need into .venv; `make PYTHON=python3.12 …` chooses the interpreter.

PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test clean

demo: .venv/installed
	rm -rf runs/demo
	$(BIN)/pixelrnn train digits --run runs/demo
	@echo "--- the model, and the two baselines that it must beat"
	$(BIN)/pixelrnn evaluate runs/demo --split valid --split test
	$(BIN)/python benchmarks/digits_baselines.py
	@echo "--- pictures"
	$(BIN)/pixelrnn sample runs/demo --out runs/demo/samples.png
	$(BIN)/pixelrnn complete runs/demo --out runs/demo/completions.png

test: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/clang-format --dry-run -Werror src/pixelrnn/compiled/*.h src/pixelrnn/compiled/*.cpp
	$(BIN)/mypy
	$(BIN)/pytest -n auto

# torch by itself first, so that nothing else chooses another build of it.
.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt torch
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev,hf]'
	touch $@

clean:
	rm -rf .venv runs
