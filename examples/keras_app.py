"""A Keras model under watch, on any backend: ``KERAS_BACKEND=torch python examples/keras_app.py``."""

import keras
import numpy as np

import davy

inputs = keras.Input((4,), name="features")
net = keras.Model(inputs, keras.layers.Dense(3, activation="softmax")(inputs))

model = davy.watch(net, "net:1")
print(model.predict(np.ones((3, 4), np.float32)))
davy.flush()
