"""A LightGBM booster under watch: ``python examples/lightgbm_app.py``."""

import lightgbm
from sklearn.datasets import load_breast_cancer

import davy

x, y = load_breast_cancer(return_X_y=True, as_frame=True)
settings = {"objective": "binary", "verbose": -1}
booster = lightgbm.train(settings, lightgbm.Dataset(x, y), num_boost_round=10)

model = davy.watch(booster, "cancer:1")
print(model.predict(x[:3]))  # captured with the names of the columns
davy.flush()
