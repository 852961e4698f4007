# make test   sets itself up in .venv, then lints, checks types and runs the tests but those of make test-programs
# make test-programs  runs the tests marked `programs` (pyproject.toml): the docs' pages, benchmarks, real servers and compilers
# make fuzz   runs the property tests on examples drawn anew; SEED=N repeats a run
# make gpu-test, make gpu-bench BUNDLES=build/gpu: on a GPU with TensorRT, see below
# make test-aarch64  runs the device's tests in an arm64 Debian under qemu, and compares decisions with this machine's
# make test-cameras  runs the tests of cameras through GStreamer, with Debian's OpenCV: see the target
# make test-v4l2     runs the tests of USB cameras in a virtual machine, whose kernel has a test camera
# make docs   builds the site of docs/ into .build/docs; a broken link fails it
# make package  builds wheel and sdist into .build/dist, checks them, installs each in an empty environment
# make demo   sets itself up, exports the example's checkpoint, makes a clip and classifies it into demo/
PYTHON ?= python3
BIN := .venv/bin
TENSORRT := 10.3.0 10.16.1.11 11.4.0.106
CUDA := 12.9 13
RTX := 1.6.1.120 1.7.1.116
RTX_BINDINGS := 1.4.0.76 1.5.0.114
DEVICE_TESTS := $(addprefix tests/,bundle machine images runtime serving profiles export/choice)

# Tests start a hundred Pythons: each would compile our sources again where the environment forbids to keep bytecode.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: test test-programs fuzz demo docs package lint types runtime-test test-cameras test-v4l2 test-aarch64 gpu-test gpu-bench clean

# Two processes, each with whole files, in the order of tests/conftest.py.
TEST := $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder
test: lint types
	$(TEST) -m "not programs"

test-programs: .venv/installed .venv-triton/installed
	$(TEST) -m programs

SEED ?= $(shell date +%s)
fuzz: .venv/installed
	@echo "the seed is $(SEED): make fuzz SEED=$(SEED) repeats this run"
	$(BIN)/python -m pytest -n 2 -m hypothesis --hypothesis-profile fuzz --hypothesis-seed $(SEED)

demo: .venv/installed
	$(BIN)/python examples/digits/demo.py --out demo

docs: .venv/installed
	$(BIN)/mkdocs build --quiet

# Metadata as the package index checks it; then what is missing in a package shows, since nothing of this folder is imported.
package: .venv/installed
	rm -rf .build/dist .venv-package
	$(BIN)/pyproject-build --outdir .build/dist .
	$(BIN)/twine check --strict .build/dist/*
	@set -e; for file in .build/dist/*.whl .build/dist/*.tar.gz; do \
	  $(PYTHON) -m venv --clear .venv-package; \
	  .venv-package/bin/python -m pip install -q -c constraints.txt $$file; \
	  (cd / && $(CURDIR)/.venv-package/bin/python -I $(CURDIR)/tests/installed.py $(CURDIR)); \
	done
	rm -rf .venv-package

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/installed
	$(BIN)/mypy

# The device's side alone, without torch and onnx; what needs them, or a package of [report], is skipped: make runtime-test PYTHON=python3.10
runtime-test:
	$(PYTHON) -m venv .venv-runtime
	.venv-runtime/bin/python -m pip install -q -c constraints.txt ".[cpu]" pytest pytest-xdist hypothesis
	.venv-runtime/bin/python -m pytest -n 2 --dist loadfile $(DEVICE_TESTS)
	rm -rf .venv-runtime

# Cameras through GStreamer, which OpenCV's wheel lacks. The system's Python must see python3-opencv, python3-gi,
# gir1.2-gst-rtsp-server-1.0 and gstreamer1.0-{plugins-good,plugins-bad,plugins-ugly,libav}. Where its OpenCV has no GStreamer, no
# test is collected, which is an error.
SYSTEM_PYTHON := /usr/bin/python3
test-cameras:
	$(SYSTEM_PYTHON) -m venv --system-site-packages .venv-cameras
	.venv-cameras/bin/python -m pip install -q -c constraints.txt pytest pytest-xdist msgspec tqdm
	mkdir -p .build/site && ln -sfn ../.. .build/site/sacvit
	PYTHONPATH=$(CURDIR)/.build/site .venv-cameras/bin/python -m pytest --confcutdir tests/cameras -n 2 tests/cameras

# USB cameras with the kernel's test camera. Needs qemu, no KVM, and downloads a kernel once: see tests/v4l2/run.sh.
test-v4l2:
	PYTHON="$(CURDIR)/$(BIN)/python" tests/v4l2/run.sh

# The device's side on arm64. Needs debootstrap and qemu-user-static, and root: see tests/aarch64/run.sh.
test-aarch64: .venv/installed
	DEVICE_TESTS="$(DEVICE_TESTS)" TESTS="$(TESTS)" tests/aarch64/run.sh

# On a machine with a GPU and TensorRT: make gpu-test PYTHON=python3.10. That Python has tensorrt, cuda-bindings, numpy, tqdm
# and pytest; nothing is installed. 2 small models in 3 precisions.
gpu-test:
	mkdir -p .build/site && ln -sfn ../.. .build/site/sacvit
	PYTHONPATH=$(CURDIR)/.build/site:$$PYTHONPATH $(PYTHON) -m pytest tests/gpu -W default -rs --durations=5

# Speed, on the same machine: bundles come from benchmarks/gpu_prepare.py, which needs torch and no GPU.
gpu-bench:
	mkdir -p .build/site && ln -sfn ../.. .build/site/sacvit
	PYTHONPATH=$(CURDIR)/.build/site:$$PYTHONPATH $(PYTHON) benchmarks/gpu.py --bundles $(BUNDLES)

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q -c constraints.txt -e ".[cpu,openvino,export,report,train,curves,examples,completion,mqtt,web,docs,release,dev]"
	@# What tests hold our use of TensorRT and CUDA against: 1 and 30 MB each. Not every machine and Python has wheels.
	@for version in $(TENSORRT); do \
	  $(BIN)/python -m pip install -q --upgrade --no-deps --only-binary :all: --target .venv/tensorrt/$$version \
	    tensorrt-cu12-bindings==$$version || echo "no bindings of TensorRT $$version here: their tests are skipped"; \
	done
	@for version in $(CUDA); do \
	  $(BIN)/python -m pip install -q --upgrade --no-deps --only-binary :all: --target .venv/cuda/$$version \
	    cuda-bindings==$$version.* cuda-pathfinder || echo "no cuda-bindings $$version here: their tests are skipped"; \
	done
	@# A compiler that builds our graphs without a GPU, 220 MB each.
	@for version in $(RTX); do \
	  $(BIN)/python -m pip install -q --upgrade --no-deps --only-binary :all: --target .venv/tensorrt-rtx/$$version \
	    tensorrt-rtx-cu12-libs==$$version tensorrt-rtx-cu12-bindings==$$version \
	    || echo "no TensorRT for RTX $$version here: its tests are skipped"; \
	done
	@# What its older versions offer: the bindings alone.
	@for version in $(RTX_BINDINGS); do \
	  $(BIN)/python -m pip install -q --upgrade --no-deps --only-binary :all: --target .venv/tensorrt-rtx/$$version \
	    tensorrt-rtx-cu12-bindings==$$version || echo "no bindings of TensorRT for RTX $$version here: their tests are skipped"; \
	done
	touch $@

# A real Triton for the tests, in an environment of its own: its Python backend wants NumPy 1.
.venv-triton/installed: pyproject.toml
	$(PYTHON) -m venv .venv-triton
	.venv-triton/bin/python -m pip install -q nvidia-pytriton==0.7.0 numpy==1.26.4 onnxruntime==1.31.1 \
	  opencv-python==4.11.0.86 -e . || echo "no Triton for this machine and Python: its tests are skipped"
	touch $@

clean:
	rm -rf .venv .venv-package .venv-runtime .venv-cameras .venv-triton .build demo
