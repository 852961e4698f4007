"""A stand-in for cuda-python on a machine without a GPU: see bindings/runtime.py."""
