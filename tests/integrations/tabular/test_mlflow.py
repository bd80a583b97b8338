"""MLflow: models loaded by pyfunc."""

from __future__ import annotations

from pathlib import Path

import mlflow.pyfunc
import pandas as pd
from support.sdk_rig import inferences_in

import davy


class Doubler(mlflow.pyfunc.PythonModel):
    def predict(self, context: object, model_input: pd.DataFrame, params: object = None) -> pd.DataFrame:
        return pd.DataFrame({"value": model_input["age"] * 2})


def test_a_loaded_model_gives_its_columns(tmp_path: Path, own_client: str) -> None:
    mlflow.pyfunc.save_model(tmp_path / "model", python_model=Doubler(), pip_requirements=[])
    loaded = mlflow.pyfunc.load_model(str(tmp_path / "model"))
    model = davy.watch(loaded, "double:1")
    assert isinstance(model, mlflow.pyfunc.PyFuncModel)
    model.predict(pd.DataFrame({"age": [1, 2], "name": ["a", "b"]}))
    davy.flush()
    found = inferences_in(own_client)
    assert [(dict(one.inputs), dict(one.outputs)) for one in found] == [
        ({"age": 1, "name": "a"}, {"value": 2}),
        ({"age": 2, "name": "b"}, {"value": 4}),
    ]
