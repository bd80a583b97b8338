"""ONNX Runtime: inputs and outputs by the names the session knows."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from support.sdk_rig import inferences_in

import davy

X = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)


@pytest.fixture(scope="module")
def session() -> onnxruntime.InferenceSession:
    """Four features to an embedding, three probabilities and a label."""
    weights = np.random.default_rng(1).normal(size=(4, 3)).astype(np.float32)
    nodes = [
        helper.make_node("MatMul", ["features", "weights"], ["hidden"]),
        helper.make_node("Softmax", ["hidden"], ["probabilities"], axis=1),
        helper.make_node("ArgMax", ["hidden"], ["output_label"], axis=1, keepdims=0),
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["n", 4])],
        [
            helper.make_tensor_value_info("output_label", TensorProto.INT64, ["n"]),
            helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["n", 3]),
            helper.make_tensor_value_info("hidden", TensorProto.FLOAT, ["n", 3]),
        ],
        [numpy_helper.from_array(weights, "weights")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    return onnxruntime.InferenceSession(model.SerializeToString())


def test_outputs_have_the_names_davy_knows_and_the_embedding_is_apart(
    session: onnxruntime.InferenceSession, own_client: str
) -> None:
    watched = davy.watch(session, "net:1", embedding="hidden")
    assert isinstance(watched, onnxruntime.InferenceSession)
    assert watched.get_inputs()[0].name == "features"
    labels, probs, hidden = watched.run(None, {"features": X})
    davy.flush()
    found = inferences_in(own_client)
    assert len(found) == 6
    np.testing.assert_array_equal([one.inputs["features"] for one in found], X)
    np.testing.assert_array_equal([one.outputs["probs"] for one in found], probs)
    assert [one.outputs["label"] for one in found] == labels.tolist()
    np.testing.assert_array_equal([one.embedding for one in found], hidden)


def test_the_outputs_asked_for_are_captured_and_columns_can_be_named(
    session: onnxruntime.InferenceSession, own_client: str
) -> None:
    watched = davy.watch(session, "net:1", inputs=["a", "b", "c", "d"], output="logits")
    (hidden,) = watched.run(["hidden"], {"features": X})
    davy.flush()
    found = inferences_in(own_client)
    assert {(*one.inputs, *one.outputs) for one in found} == {("a", "b", "c", "d", "logits")}
    np.testing.assert_array_equal([one.outputs["logits"] for one in found], hidden)


def test_the_keys_of_a_zipmap_are_the_names_of_the_classes(own_client: str) -> None:
    names = ["cat", "dog", "eel"]
    nodes = [
        helper.make_node("Softmax", ["features"], ["probabilities"], axis=1),
        helper.make_node(
            "ZipMap",
            ["probabilities"],
            ["output_probability"],
            domain="ai.onnx.ml",
            classlabels_strings=names,
        ),
    ]
    kind = helper.make_sequence_type_proto(
        helper.make_map_type_proto(TensorProto.STRING, helper.make_tensor_type_proto(TensorProto.FLOAT, []))
    )
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["n", 3])],
        [helper.make_value_info("output_probability", kind)],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
    session = davy.watch(onnxruntime.InferenceSession(model.SerializeToString()), "net:1")
    (maps,) = session.run(None, {"features": X[:, :3]})
    davy.flush()
    found = inferences_in(own_client)
    assert [one.outputs["class_names"] for one in found] == [names] * 6
    assert [one.outputs["probs"].tolist() for one in found] == [list(each.values()) for each in maps]


def test_what_the_session_raises_passes(session: onnxruntime.InferenceSession) -> None:
    with pytest.raises(onnxruntime.capi.onnxruntime_pybind11_state.InvalidArgument):
        davy.watch(session, "net:1").run(None, {"features": X[:, :2]})
    assert davy.stats()["captured"] == 0


def built(nodes: list[onnx.NodeProto], outputs: dict[str, list[int | str]]) -> onnxruntime.InferenceSession:
    """Return a session of four features, and of what nodes make of them."""
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["n", 4])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()],
        [numpy_helper.from_array(np.zeros((3, 2), np.float32), "anchor")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return onnxruntime.InferenceSession(model.SerializeToString())


@pytest.mark.parametrize("rows", [1, 6])
def test_a_scalar_or_another_size_beside_the_batch_leaves_it_a_batch(rows: int, own_client: str) -> None:
    nodes = [
        helper.make_node("Softmax", ["features"], ["probabilities"], axis=1),
        helper.make_node("ReduceSum", ["features"], ["total"], keepdims=0),
        helper.make_node("Identity", ["anchor"], ["anchors"]),
    ]
    session = davy.watch(built(nodes, {"probabilities": ["n", 4], "total": [], "anchors": [3, 2]}), "net:1")
    session.run(None, {"features": X[:rows]})
    davy.flush()
    found = inferences_in(own_client)
    assert len(found) == rows
    assert {(one.inputs["features"].shape, *one.outputs) for one in found} == {((4,), "probs")}
    assert davy.stats()["left_out"] == {
        "net:1 outputs.total: length": rows,
        "net:1 outputs.anchors: length": rows,
    }


@pytest.mark.parametrize("rows", [1, 6])
def test_ort_values_are_captured_like_arrays(
    rows: int, session: onnxruntime.InferenceSession, own_client: str
) -> None:
    watched = davy.watch(session, "net:1", embedding="hidden")
    feed = {"features": onnxruntime.OrtValue.ortvalue_from_numpy(X[:rows])}
    answers = watched.run_with_ort_values(["probabilities", "hidden"], feed)
    assert isinstance(answers[0], onnxruntime.OrtValue)
    davy.flush()
    found = inferences_in(own_client)
    assert len(found) == rows
    np.testing.assert_array_equal([one.inputs["features"] for one in found], X[:rows])
    np.testing.assert_array_equal([one.outputs["probs"] for one in found], answers[0].numpy())
    np.testing.assert_array_equal([one.embedding for one in found], answers[1].numpy())


@pytest.mark.parametrize(("operation", "name"), [("Softmax", "probs"), ("Identity", "scores")])
def test_lone_scores_that_are_a_distribution_are_probabilities(
    operation: str, name: str, own_client: str
) -> None:
    davy.watch(
        built([helper.make_node(operation, ["features"], ["scores"])], {"scores": ["n", 4]}), "net:1"
    ).run(None, {"features": X})
    davy.flush()
    assert {tuple(one.outputs) for one in inferences_in(own_client)} == {(name,)}
