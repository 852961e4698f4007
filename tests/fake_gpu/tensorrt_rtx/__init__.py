"""TensorRT for RTX: the stand-in beside this folder, when it has the shape of one of its versions."""

import sys

import tensorrt

if not tensorrt.is_rtx():
    raise ModuleNotFoundError("No module named 'tensorrt_rtx'", name="tensorrt_rtx")
sys.modules[__name__] = tensorrt
