"""What each TensorRT is said to make of each graph, where that is known from, and how it reads."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

from sacvit.bundle.precision import PRECISIONS
from sacvit.calibration.stored_weights import store_quantized
from sacvit.export.checks.tensorrt_support import Verdict, accept, acceptance_lines
from sacvit.export.pair_graphs import build_pair
from sacvit.export.plans.ladder import TABLE, load_table
from sacvit.model.checkpoint import load_checkpoint

VERSIONS = ["8.6", "10.3", "10.16", "11.4"]
STAGES = ("EE", "SAC")
ISSUE = re.compile(r"[\w.-]+/[\w.-]+#\d+")


def verdicts(model: onnx.ModelProto, precision: str) -> dict[str, Verdict]:
    """By TensorRT version."""
    return {verdict.tensorrt: verdict for verdict in accept("ee.onnx", model, precision)}


def refusals(model: onnx.ModelProto, precision: str, version: str = "10.3") -> str:
    return "; ".join(verdicts(model, precision)[version].refusals)


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize(
    ("precision", "builds"),
    [
        ("fp32", {"8.6": "as it is", "10.3": "strongly typed", "10.16": "strongly typed", "11.4": "as it is"}),
        (
            "int8",
            {
                "8.6": "flags INT8 and FP16",
                "10.3": "strongly typed, or flags INT8 and FP16",
                "10.16": "strongly typed",
                "11.4": "as it is",
            },
        ),
        ("fp16", {"8.6": "flag FP16", "10.3": "strongly typed", "10.16": "strongly typed", "11.4": "as it is"}),
        ("bf16", {"8.6": "", "10.3": "strongly typed", "10.16": "strongly typed", "11.4": "as it is"}),
        ("int8fp16", {"8.6": "", "10.3": "strongly typed", "10.16": "strongly typed", "11.4": "as it is"}),
    ],
)
def test_every_version_says_how_it_builds_our_graphs(graphs, stage, precision, builds):
    assert {name: found.build for name, found in verdicts(graphs[stage, precision], precision).items()} == builds


@pytest.mark.parametrize("stage", STAGES)
def test_what_8_6_cannot_type_is_refused_there_and_all_else_accepted(graphs, stage):
    refused = [
        (precision, version)
        for (owner, precision), model in graphs.items()
        for version, verdict in verdicts(model, precision).items()
        if owner == stage and not verdict.accepted
    ]
    assert refused == [("bf16", "8.6"), ("fp8", "8.6"), ("int8fp16", "8.6")]


@pytest.mark.parametrize("precision", ["int8", "int8fp16", "fp8"])
def test_weights_in_eight_bits_are_refused_before_10_and_taken_from_there(graphs, precision):
    found = verdicts(store_quantized(graphs["EE", precision]), precision)
    refused = [version for version, verdict in found.items() if any("--qdq-weights" in one for one in verdict.refusals)]
    assert refused == ["8.6"]


def test_8_6_refuses_int8_in_fp16_for_its_opset_alone(graphs):
    assert verdicts(graphs["EE", "int8fp16"], "int8fp16")["8.6"].refusals == ("opset 19, it parses up to 17",)


def test_a_precision_that_a_version_cannot_build_is_refused(graphs):
    """Even were the opset right, 8.6 has no strong typing."""
    graphs["EE", "int8fp16"].opset_import[0].version = 17
    assert "no way to build int8fp16 there" in refusals(graphs["EE", "int8fp16"], "int8fp16", "8.6")


def test_an_unknown_operator_is_refused_by_its_name(graphs):
    graphs["EE", "fp32"].graph.node[5].op_type = "Gelu"
    name = graphs["EE", "fp32"].graph.node[5].name
    assert refusals(graphs["EE", "fp32"], "fp32") == f"operator Gelu ({name}) is not in its parser's list"


def test_an_operator_of_another_domain_is_refused(graphs):
    graphs["EE", "fp32"].graph.node[5].domain = "com.microsoft"
    assert "is not in its parser's list" in refusals(graphs["EE", "fp32"], "fp32")


@pytest.mark.parametrize(("version", "refused"), [("8.6", True), ("10.3", False), ("10.16", False), ("11.4", False)])
def test_int64_at_the_boundary_is_refused_where_it_is_narrowed(graphs, version, refused):
    value = next(value for value in graphs["EE", "fp32"].graph.output if value.name == "target_index")
    value.type.tensor_type.elem_type = TensorProto.INT64
    wanted = "target_index is int64, which it narrows to int32" if refused else ""
    assert refusals(graphs["EE", "fp32"], "fp32", version) == wanted


def test_a_type_that_no_version_takes_at_the_boundary_is_refused(graphs):
    graphs["EE", "fp32"].graph.output[0].type.tensor_type.elem_type = TensorProto.DOUBLE
    assert refusals(graphs["EE", "fp32"], "fp32") == "logits is double at the boundary"


@pytest.mark.parametrize(("count", "wanted"), [(3840, ""), (3841, "TopK of 3841, the most is 3840")])
def test_a_top_k_beyond_the_limit_is_refused(graphs, count, wanted):
    model = graphs["EE", "fp32"]
    node = next(node for node in model.graph.node if node.op_type == "TopK")
    model.graph.initializer.append(numpy_helper.from_array(np.array([count]), "count"))
    node.input[1] = "count"
    assert refusals(model, "fp32") == wanted


def test_an_fp16_scale_below_opset_19_is_refused(graphs):
    graphs["EE", "int8fp16"].opset_import[0].version = 17
    assert refusals(graphs["EE", "int8fp16"], "int8fp16") == "FP16 scales need opset 19, the graph has 17"


def test_quantization_outside_the_weighted_layers_is_refused(graphs):
    """The pair of fc2's input moved in front of a residual add."""
    add = next(node for node in graphs["EE", "int8"].graph.node if node.name == "blocks.1.after_attn")
    add.input[1] = "blocks.1.mlp.gelu.dequantized"
    wanted = "blocks.1.after_attn: Add is quantized; only weighted layers may be, and not the head"
    assert refusals(graphs["EE", "int8"], "int8") == wanted


def test_a_newer_opset_than_any_is_refused_by_all(graphs):
    graphs["EE", "fp32"].opset_import[0].version = 24
    assert {found.accepted for found in verdicts(graphs["EE", "fp32"], "fp32").values()} == {False}


@pytest.mark.parametrize("precision", ["fp32", "int8", "fp16", "int8fp16"])
def test_a_symbolic_batch_carries_the_risk_of_10_3(graphs, precision):
    risks = verdicts(graphs["EE", precision], precision)["10.3"].risks
    assert any("export with --batch N (NVIDIA/TensorRT#4419)" in risk for risk in risks)


def test_a_fixed_batch_carries_no_such_risk(tiny_checkpoint):
    for model in build_pair(load_checkpoint(tiny_checkpoint), 2):
        assert verdicts(model, "fp32")["10.3"].risks == ()


def test_other_versions_carry_no_risk_in_fp32(graphs):
    found = verdicts(graphs["EE", "fp32"], "fp32")
    assert {version for version in VERSIONS if found[version].risks} == {"10.3"}


@pytest.mark.parametrize(("version", "issue"), [("10.3", "NVIDIA/TensorRT#4723"), ("10.16", "NVIDIA/TensorRT#4837")])
@pytest.mark.parametrize("precision", ["fp16", "int8fp16"])
def test_an_fp16_body_carries_the_known_faults_of_its_version(graphs, precision, version, issue):
    assert any(risk.endswith(f"({issue})") for risk in verdicts(graphs["EE", precision], precision)[version].risks)


def test_a_refused_graph_carries_no_risks(graphs):
    graphs["EE", "fp16"].graph.node[5].op_type = "Gelu"
    assert all(found.risks == () and found.build == "" for found in verdicts(graphs["EE", "fp16"], "fp16").values())


def test_a_verdict_says_in_the_manifest_whether_it_is_accepted(graphs):
    found = verdicts(graphs["EE", "int8fp16"], "int8fp16")
    entry = json.loads(json.dumps(found["8.6"].to_dict()))
    assert (entry["file"], entry["tensorrt"], entry["accepted"]) == ("ee.onnx", "8.6", False)


def test_the_table_has_the_versions_that_we_promise():
    assert [version["version"] for version in load_table()["versions"]] == VERSIONS


def sourced() -> list[tuple[str, str]]:
    """What the table says, and the source that it gives for it."""
    table = load_table()
    found = [
        (name, table[name]["source"])
        for name in ("operators", "largest_top_k", "quantized_constants", "fp16_scales_opset")
    ]
    found += [(version["version"], version["source"]) for version in table["versions"]]
    return found + [(entry["symptom"], entry["source"]) for entry in table["known_bad"]]


def test_every_entry_of_the_table_has_a_source():
    sources = load_table()["sources"]
    assert [entry for entry, source in sourced() if source not in sources and not ISSUE.fullmatch(source)] == []


def test_every_source_of_the_table_is_used():
    assert load_table()["sources"].keys() <= {source for _, source in sourced()}


def test_known_faults_are_of_versions_and_precisions_that_the_table_has():
    precisions = {row.name for row in PRECISIONS}
    for entry in load_table()["known_bad"]:
        assert set(entry["versions"]) <= set(VERSIONS) and set(entry["precisions"]) <= precisions


def test_the_table_allows_every_operator_that_the_lint_allows():
    from sacvit.export.checks.lint import ALLOWED_OPERATORS, QDQ_OPERATORS

    assert set(load_table()["operators"]["names"]) == ALLOWED_OPERATORS | QDQ_OPERATORS


def test_the_table_is_part_of_the_package():
    tomllib = pytest.importorskip("tomllib")  # Python 3.11
    root = Path(__file__).parents[3]
    data = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["sacvit"]
    assert str(TABLE.resolve().relative_to(root)) in data


def verdict(precision: str, version: str, refused: str = "", risks: tuple[str, ...] = (), file: str = "ee") -> Verdict:
    return Verdict(file, precision, version, "" if refused else "as it is", (refused,) if refused else (), risks)


def test_a_person_reads_a_table_and_its_notes():
    lines = acceptance_lines(
        [
            verdict("fp32", "8.6"),
            verdict("fp32", "10.3", risks=("a risk", "another")),
            verdict("int8fp16", "8.6", refused="too old"),
            verdict("int8fp16", "10.3", risks=("a risk",)),
        ]
    )
    assert lines == [
        "TensorRT   8.6      10.3",
        "fp32       yes      yes [1] [2]",
        "int8fp16   no [3]   yes [1]",
        "  [1] 10.3: a risk",
        "  [2] 10.3: another",
        "  [3] 8.6: too old",
    ]


def test_a_precision_is_accepted_when_both_of_its_graphs_are():
    lines = acceptance_lines([verdict("fp32", "8.6"), verdict("fp32", "8.6", refused="too large", file="sac")])
    assert lines[1:] == ["fp32       no [1]", "  [1] 8.6: too large"]


def test_the_same_reason_is_one_note():
    both = [verdict("fp32", "8.6", risks=("a risk",)), verdict("fp32", "8.6", risks=("a risk",), file="sac")]
    assert acceptance_lines(both)[1:] == ["fp32       yes [1]", "  [1] 8.6: a risk"]


def test_columns_of_a_real_report_are_aligned(graphs):
    found = [verdict for (_, kind), model in graphs.items() for verdict in accept("ee.onnx", model, kind)]
    lines = acceptance_lines(found)
    header, rows = lines[0], lines[1 : len(PRECISIONS) + 1]
    for version in VERSIONS:
        place = header.index(version)
        assert all(row[place - 1] == " " and row[place : place + 2] in ("ye", "no") for row in rows)


def test_notes_of_a_real_report_are_numbered_from_1(graphs):
    found = [verdict for (_, kind), model in graphs.items() for verdict in accept("ee.onnx", model, kind)]
    lines = acceptance_lines(found)
    notes = [int(line[3 : line.index("]")]) for line in lines[len(PRECISIONS) + 1 :]]
    assert notes == list(range(1, len(notes) + 1))
    assert set(map(int, re.findall(r"\[(\d+)\]", "\n".join(lines[: len(PRECISIONS) + 1])))) == set(notes)
