"""A scikit-learn pipeline under watch: ``python examples/sklearn_app.py``."""

from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import davy

frame, kinds = load_iris(return_X_y=True, as_frame=True)
pipeline = make_pipeline(StandardScaler(), LogisticRegression()).fit(frame, kinds)

model = davy.watch(pipeline, "iris:1")
print(model.predict_proba(frame[:3]))  # captured: one field a column, probs and label
davy.flush()
