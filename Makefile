# make test   sets itself up in .venv, then lints, checks types and runs the tests
# make demo   sets itself up, exports the example's checkpoint, makes a clip and classifies it into demo/
PYTHON ?= python3
BIN := .venv/bin

.PHONY: test demo lint types runtime-test clean

test: lint types
	$(BIN)/python -m pytest

demo: .venv/installed
	$(BIN)/python examples/digits/demo.py --out demo

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/installed
	$(BIN)/mypy

# The device's side alone, without torch and onnx: make runtime-test PYTHON=python3.10
runtime-test:
	$(PYTHON) -m venv .venv-runtime
	.venv-runtime/bin/python -m pip install -q -c constraints.txt ".[cpu]" pytest hypothesis
	.venv-runtime/bin/python -m pytest tests/runtime tests/bundle
	rm -rf .venv-runtime

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q -c constraints.txt -e ".[cpu,export,train,examples,dev]"
	touch $@

clean:
	rm -rf .venv .venv-runtime .build demo
