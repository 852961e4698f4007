"""A small writer of ONNX graphs: every tensor is named after the module that made it.

The graphs are written, not traced: names, operators and layouts stay the same whatever torch is installed, and the torch
network is an independent reference in the parity check.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from ...bundle.errors import ConfigError
from ...bundle.precision import OPSET

IR_VERSION = 8  # of opset 17's release; older runtimes refuse newer versions
MAX_GRAPH_BYTES = (2 << 30) - 1  # protobuf's own limit
TYPES = {"uint8": TensorProto.UINT8, "int32": TensorProto.INT32, "float32": TensorProto.FLOAT}

Shape = Sequence[int | str]
Array = npt.NDArray[Any]


class GraphBuilder:
    """Collects nodes and constants; an operator's output carries the operator's name."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {}
        self.inputs: list[onnx.ValueInfoProto] = []
        self.outputs: list[onnx.ValueInfoProto] = []

    def input(self, name: str, kind: str, shape: Shape) -> str:
        self.inputs.append(helper.make_tensor_value_info(name, TYPES[kind], shape))
        return name

    def output(self, name: str, kind: str, shape: Shape) -> None:
        """Declares the tensor `name`, which an operator writes, as an output."""
        self.outputs.append(helper.make_tensor_value_info(name, TYPES[kind], shape))

    def constant(self, name: str, value: Array) -> str:
        self.constants[name] = numpy_helper.from_array(np.ascontiguousarray(value), name)
        return name

    def integers(self, *values: int) -> str:
        """A constant of shapes, axes or split sizes, which ONNX requires as int64; equal ones are stored once."""
        return self.constant("ints_" + "_".join(map(str, values)), np.array(values, np.int64))

    def scalar(self, value: float) -> str:
        return self.constant(f"scalar_{value:.7g}", np.array(value, np.float32))

    def op(self, name: str, kind: str, *inputs: str, **attributes: Any) -> str:
        """Adds an operator with one output and returns the output's name, which is `name`."""
        self.nodes.append(helper.make_node(kind, inputs, [name], name, **attributes))
        return name

    def ops(self, names: Sequence[str], kind: str, *inputs: str, **attributes: Any) -> list[str]:
        """Adds an operator with several outputs, named one by one."""
        self.nodes.append(helper.make_node(kind, inputs, names, names[0], **attributes))
        return list(names)

    def reshape(self, name: str, x: str, *shape: int) -> str:
        return self.op(name, "Reshape", x, self.integers(*shape))

    def slice(self, name: str, x: str, start: int, stop: int, axis: int) -> str:
        return self.op(name, "Slice", x, self.integers(start), self.integers(stop), self.integers(axis))

    def cast(self, name: str, x: str, kind: str) -> str:
        return self.op(name, "Cast", x, to=TYPES[kind])

    def model(self, name: str) -> onnx.ModelProto:
        graph = helper.make_graph(self.nodes, name, self.inputs, self.outputs, list(self.constants.values()))
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="sacvit"
        )
        if model.ByteSize() > MAX_GRAPH_BYTES:
            raise ConfigError(f"the {name} graph would exceed 2 GiB, the most that an ONNX file holds in one piece")
        onnx.checker.check_model(model)
        return model
