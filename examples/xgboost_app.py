"""An XGBoost booster under watch: ``python examples/xgboost_app.py``."""

import xgboost
from sklearn.datasets import load_breast_cancer

import davy

x, y = load_breast_cancer(return_X_y=True, as_frame=True)
booster = xgboost.train({"objective": "binary:logistic"}, xgboost.DMatrix(x, y), num_boost_round=10)

model = davy.watch(booster, "cancer:1")
print(model.predict(xgboost.DMatrix(x[:3])))  # captured with the names of the columns
davy.flush()
