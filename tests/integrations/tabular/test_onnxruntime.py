"""ONNX Runtime: inputs and outputs by the names the session knows."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from sdk_rig import inferences_in

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


def test_what_the_session_raises_passes(session: onnxruntime.InferenceSession) -> None:
    with pytest.raises(onnxruntime.capi.onnxruntime_pybind11_state.InvalidArgument):
        davy.watch(session, "net:1").run(None, {"features": X[:, :2]})
    assert davy.stats()["captured"] == 0
