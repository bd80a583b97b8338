"""Models of tables on their way to a person."""

from __future__ import annotations

from tempfile import TemporaryDirectory
from typing import Any

import lightgbm
import mlflow.pyfunc
import mlflow.sklearn
import mlflow.xgboost
import numpy as np
import onnxruntime
import pandas as pd
import xgboost
from onnx import TensorProto, helper
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from support.integration_loop import captures, main

import davy

RNG = np.random.default_rng(0)
X = RNG.normal(size=(90, 4)).astype(np.float32)
FRAME = pd.DataFrame(X, columns=["sepal", "petal", "stem", "leaf"])
KINDS = (X[:, 0] > 0).astype(int) + (X[:, 1] > 0)
NAMES = ["setosa", "versicolor", "virginica"]
WEATHER = ["rain", "snow", "wind"]
ASKED = FRAME[:12]


def likeliest(probs: Any, names: Any = NAMES) -> list[str]:
    return [str(names[at]) for at in np.asarray(probs).argmax(axis=1)]


@captures("scikit-learn, `predict_proba`")
def probabilities(model: str) -> list[Any]:
    made = make_pipeline(StandardScaler(), LogisticRegression()).fit(FRAME, np.array(NAMES)[KINDS])
    return likeliest(davy.watch(made, model).predict_proba(ASKED), made.classes_)


@captures("scikit-learn, `predict`")
def labels_only(model: str) -> list[Any]:
    made = GridSearchCV(LogisticRegression(), {"C": [0.1, 1.0]}, cv=2).fit(FRAME, KINDS + 1)
    return [str(each) for each in davy.watch(made, model).predict(ASKED)]


@captures("scikit-learn, several labels")
def several_labels(model: str) -> list[Any]:
    marks = np.stack([X[:, 0] > 0, X[:, 1] > 0, X[:, 2] > 0], axis=1).astype(int)
    made = OneVsRestClassifier(LogisticRegression()).fit(FRAME, marks)
    probs = davy.watch(made, model, class_names=WEATHER).predict_proba(ASKED)
    return [[name for name, each in zip(WEATHER, row, strict=True) if each >= 0.5] for row in probs]


@captures("scikit-learn, regressor")
def regressor(model: str) -> list[Any]:
    made = LinearRegression().fit(FRAME, X @ [1.0, 2.0, -1.0, 0.5])
    return davy.watch(made, model).predict(ASKED).tolist()


@captures("XGBoost, `XGBClassifier`")
def xgb_classifier(model: str) -> list[Any]:
    made = xgboost.XGBClassifier(n_estimators=3).fit(FRAME, KINDS)
    return likeliest(davy.watch(made, model).predict_proba(ASKED), ["0", "1", "2"])


@captures("XGBoost, `Booster`")
def xgb_booster(model: str) -> list[Any]:
    data = xgboost.DMatrix(FRAME, KINDS > 0)
    made = xgboost.train({"objective": "binary:logistic"}, data, num_boost_round=3)
    probs = davy.watch(made, model, class_names=["benign", "malignant"]).predict(xgboost.DMatrix(ASKED))
    return ["malignant" if each > 0.5 else "benign" for each in probs]


@captures("XGBoost, `Booster` of `multi:softmax`")
def xgb_softmax(model: str) -> list[Any]:
    objective = {"objective": "multi:softmax", "num_class": 3}
    made = xgboost.train(objective, xgboost.DMatrix(FRAME, KINDS), num_boost_round=3)
    labels = davy.watch(made, model, class_names=NAMES).predict(xgboost.DMatrix(ASKED))
    return [NAMES[int(each)] for each in labels]


@captures("LightGBM, `LGBMClassifier`")
def lgbm_classifier(model: str) -> list[Any]:
    made = lightgbm.LGBMClassifier(n_estimators=3, verbose=-1).fit(FRAME, np.array(NAMES)[KINDS])
    return likeliest(davy.watch(made, model).predict_proba(ASKED))


@captures("LightGBM, `Booster`")
def lgbm_booster(model: str) -> list[Any]:
    objective = {"objective": "multiclass", "num_class": 3, "verbose": -1}
    made = lightgbm.train(objective, lightgbm.Dataset(FRAME, KINDS), num_boost_round=3)
    return likeliest(davy.watch(made, model, class_names=NAMES).predict(ASKED))


@captures("ONNX Runtime, ZipMap")
def onnx_zipmap(model: str) -> list[Any]:
    """What skl2onnx makes of a classifier: a label and a map from names to probabilities."""
    nodes = [
        helper.make_node(
            "LinearClassifier",
            ["features"],
            ["output_label", "scores"],
            domain="ai.onnx.ml",
            coefficients=RNG.normal(size=12).tolist(),
            intercepts=[0.0, 0.0, 0.0],
            classlabels_strings=NAMES,
            post_transform="SOFTMAX",
        ),
        helper.make_node(
            "ZipMap", ["scores"], ["output_probability"], domain="ai.onnx.ml", classlabels_strings=NAMES
        ),
    ]
    mapped = helper.make_map_type_proto(
        TensorProto.STRING, helper.make_tensor_type_proto(TensorProto.FLOAT, [])
    )
    answers = [
        helper.make_tensor_value_info("output_label", TensorProto.STRING, ["n"]),
        helper.make_value_info("output_probability", helper.make_sequence_type_proto(mapped)),
    ]
    session = davy.watch(_session(nodes, answers), model)
    labels, _ = session.run(None, {"features": X[:12]})
    return list(map(str, labels))


@captures("ONNX Runtime, tensors")
def onnx_tensors(model: str) -> list[Any]:
    nodes = [helper.make_node("Softmax", ["features"], ["probabilities"], axis=1)]
    answers = [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["n", 4])]
    names = ["bass", "cello", "viola", "violin"]
    session = davy.watch(_session(nodes, answers), model, class_names=names)
    (probs,) = session.run(None, {"features": X[:12]})
    return likeliest(probs, names)


def _session(nodes: list[Any], answers: list[Any]) -> onnxruntime.InferenceSession:
    given = [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["n", 4])]
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    graph = helper.make_graph(nodes, "net", given, answers)
    net = helper.make_model(graph, opset_imports=opsets, ir_version=9)
    return onnxruntime.InferenceSession(net.SerializeToString())


@captures("MLflow, `sklearn` flavour")
def mlflow_sklearn(model: str) -> list[Any]:
    made = LogisticRegression().fit(FRAME, np.array(NAMES)[KINDS])
    with TemporaryDirectory() as directory:
        mlflow.sklearn.save_model(
            made, f"{directory}/model", serialization_format="cloudpickle", pip_requirements=[]
        )
        loaded = mlflow.pyfunc.load_model(f"{directory}/model")
        return [str(each) for each in davy.watch(loaded, model).predict(ASKED)]


@captures("MLflow, `xgboost` flavour")
def mlflow_xgboost(model: str) -> list[Any]:
    made = xgboost.XGBClassifier(n_estimators=3).fit(FRAME, KINDS)
    with TemporaryDirectory() as directory:
        mlflow.xgboost.save_model(made, f"{directory}/model", pip_requirements=[])
        loaded = mlflow.pyfunc.load_model(f"{directory}/model")
        return [str(each) for each in davy.watch(loaded, model).predict(ASKED)]


class Priced(mlflow.pyfunc.PythonModel):
    """A model of one's own."""

    def predict(self, context, model_input, params=None):  # MLflow reads the names, and warns of types
        """Price a flower."""
        del context, params
        return pd.DataFrame({"price": model_input["sepal"] * 2.0})


@captures("MLflow, a model of one's own")
def mlflow_own(model: str) -> list[Any]:
    with TemporaryDirectory() as directory:
        mlflow.pyfunc.save_model(f"{directory}/model", python_model=Priced(), pip_requirements=[])
        loaded = mlflow.pyfunc.load_model(f"{directory}/model")
        return davy.watch(loaded, model).predict(ASKED)["price"].tolist()


if __name__ == "__main__":
    main()
