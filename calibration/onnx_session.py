"""Graphs in ONNX Runtime on the CPU: the reference of every check, and what calibration runs on."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort

from ..bundle.preprocess import ImageU8
from ..bundle.stage_record import DENSE_HAND_OFF
from ..machine.cpu import cpu_settings

Arrays = dict[str, npt.NDArray[Any]]
CHUNK = 8  # images per pass


class Session:
    """A graph that takes and gives arrays by name."""

    def __init__(self, model: onnx.ModelProto) -> None:
        ort.disable_telemetry_events()
        options = ort.SessionOptions()
        options.log_severity_level = 3
        for key, value in cpu_settings().items():
            options.add_session_config_entry(key, value)
        if any(tensor.data_type == onnx.TensorProto.FLOAT8E4M3FN for tensor in model.graph.initializer):
            options.add_session_config_entry("session.disable_quant_qdq", "1")  # it takes FP8 pairs for INT8 ones
        self.session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        self.inputs = {value.name: value.shape for value in self.session.get_inputs()}
        self.outputs = [value.name for value in self.session.get_outputs()]

    def run(self, inputs: Arrays) -> Arrays:
        return dict(zip(self.outputs, self.session.run(self.outputs, inputs), strict=True))


class Pair:
    """The two stages, over any number of images in pieces of `chunk`. `sac` may be missing while only EE is looked at."""

    def __init__(self, ee: onnx.ModelProto, sac: onnx.ModelProto | None = None) -> None:
        self.ee = Session(ee)
        self.sac = None if sac is None else Session(sac)
        fixed = self.ee.inputs["image"][0]
        self.fixed = fixed if isinstance(fixed, int) else None
        self.chunk = self.fixed or CHUNK

    def run_ee(self, images: ImageU8) -> Arrays:
        """EE's outputs for at most `chunk` images (n, S, S, 3)."""
        outputs = self.ee.run({"image": self.filled(images)})
        return {name: values[: len(images)] for name, values in outputs.items()}

    def sac_inputs(self, images: ImageU8, handed: Arrays) -> Arrays:
        """SAC's inputs for images with EE's outputs `handed`: every image goes on."""
        inputs: Arrays = {name: self.filled(handed[name]) for name in DENSE_HAND_OFF if name in handed}
        inputs["image"] = self.filled(images)
        return inputs | {"row": np.arange(len(inputs["image"]), dtype=np.int32)}

    def run_sac(self, images: ImageU8, handed: Arrays) -> npt.NDArray[np.float32]:
        """SAC's logits for all images, whatever their confidence."""
        assert self.sac is not None
        logits: npt.NDArray[np.float32] = self.sac.run(self.sac_inputs(images, handed))["logits"]
        return logits[: len(images)]

    def filled(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Fills a batch for a fixed graph by repeating its images."""
        return np.resize(values, (self.fixed, *values.shape[1:])) if self.fixed else values
