"""Fixtures that several folders share. The device's side has no onnx: there the tests of the choice run alone."""

import importlib.util

if importlib.util.find_spec("onnx") is not None:
    from typed_exports import *  # noqa: F403
