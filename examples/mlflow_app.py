"""A model loaded by MLflow under watch: ``python examples/mlflow_app.py``."""

from tempfile import TemporaryDirectory

import mlflow.pyfunc
import pandas as pd

import davy


class Doubler(mlflow.pyfunc.PythonModel):
    """Stand in for a model."""

    def predict(self, context, model_input, params=None):  # MLflow reads the names, and warns of types
        """Double the age."""
        del context, params
        return pd.DataFrame({"value": model_input["age"] * 2})


with TemporaryDirectory() as directory:
    mlflow.pyfunc.save_model(f"{directory}/model", python_model=Doubler(), pip_requirements=[])
    model = davy.watch(mlflow.pyfunc.load_model(f"{directory}/model"), "double:1")
    print(model.predict(pd.DataFrame({"age": [20, 40]})))
davy.flush()
