"""An ONNX Runtime session under watch: ``python examples/onnxruntime_app.py``."""

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

import davy

weights = numpy_helper.from_array(np.eye(4, 3, dtype=np.float32), "weights")
nodes = [
    helper.make_node("MatMul", ["features", "weights"], ["hidden"]),
    helper.make_node("Softmax", ["hidden"], ["probabilities"], axis=1),
]
given = [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["n", 4])]
answers = [
    helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 3]) for name in ("probabilities", "hidden")
]
graph = helper.make_graph(nodes, "net", given, answers, [weights])
net = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)

session = davy.watch(onnxruntime.InferenceSession(net.SerializeToString()), "net:1", embedding="hidden")
print(session.run(None, {"features": np.ones((3, 4), np.float32)}))
davy.flush()
