"""Stands in for Triton's ONNX Runtime backend, which the wheel lacks: the same models and configs, through Python."""

import json
from pathlib import Path

import numpy as np
import onnxruntime as ort
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    @staticmethod
    def auto_complete_config(config):
        return config

    def initialize(self, args):
        config = json.loads(args["model_config"])
        path = Path(args["model_repository"]) / args["model_version"] / "model.onnx"
        self.session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        self.inputs = {entry["name"]: entry for entry in config["input"]}
        self.outputs = [entry["name"] for entry in config["output"]]
        # The real backend refuses a config that does not say what the graph says.
        for value in (*self.session.get_inputs(), *self.session.get_outputs()):
            entry = next(entry for entry in (*config["input"], *config["output"]) if entry["name"] == value.name)
            dims = [side if isinstance(side, int) else -1 for side in value.shape]
            kind = {"tensor(uint8)": "TYPE_UINT8", "tensor(int32)": "TYPE_INT32", "tensor(float)": "TYPE_FP32"}[
                value.type
            ]
            found = ([int(side) for side in entry["dims"]], entry["data_type"])
            if found != (dims, kind):
                raise ValueError(f"{value.name} is {dims} {kind} in the graph, {found} in the config")
        if set(self.inputs) | set(self.outputs) != {
            v.name for v in (*self.session.get_inputs(), *self.session.get_outputs())
        }:
            raise ValueError("the config names other inputs and outputs than the graph")

    def execute(self, requests):
        responses = []
        for request in requests:
            feeds = {name: pb_utils.get_input_tensor_by_name(request, name).as_numpy() for name in self.inputs}
            wanted = [name for name in self.outputs if name in request.requested_output_names()]
            answers = self.session.run(wanted, feeds)
            tensors = [pb_utils.Tensor(name, np.ascontiguousarray(a)) for name, a in zip(wanted, answers, strict=True)]
            responses.append(pb_utils.InferenceResponse(tensors))
        return responses
