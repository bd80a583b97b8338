"""The demo's model: a small multilayer perceptron on 8×8 digits, its training and its retraining."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from davy.demo.data import Images

_HIDDEN: Final = 256
_ALPHA: Final = 0.1
_EPOCHS: Final = 40
_COPIES: Final = 3
_COPY_NOISE: Final = 0.05
_NEW_SHARE: Final = 0.3
Digits = NDArray[np.int64]


class DigitModel:
    """A perceptron with one hidden layer, whose activations are the embedding."""

    def __init__(self, weights: list[NDArray[np.float32]]) -> None:
        self.weights = weights

    def __call__(self, images: Images) -> dict[str, NDArray[Any]]:
        """Answer images (n, 8, 8): label (n,), probs (n, 10) and embedding (n, 256)."""
        first, bias, second, last = self.weights
        hidden = np.maximum(images.reshape(len(images), -1) @ first + bias, 0)
        logits = hidden @ second + last
        scaled = np.exp(logits - logits.max(axis=1, keepdims=True))
        probs = scaled / scaled.sum(axis=1, keepdims=True)
        return {"label": probs.argmax(axis=1), "probs": probs, "embedding": hidden}

    def accuracy(self, images: Images, digits: Digits) -> float:
        """Share of right answers."""
        return float(np.mean(self(images)["label"] == digits))

    def save(self, path: Path) -> None:
        """Write the weights to an NPZ file."""
        np.savez(path, *self.weights)

    @classmethod
    def load(cls, path: Path) -> DigitModel:
        """Read what `save` wrote."""
        with np.load(path) as found:
            return cls([found[name] for name in found.files])


def train(images: Images, digits: Digits, seed: int) -> DigitModel:
    """Train from scratch on noisy copies."""
    return _fit(*_copies(images, digits, seed), seed)


def retrain(images: Images, digits: Digits, new_images: Images, new_digits: Digits, seed: int) -> DigitModel:
    """Train again with new rows, repeated until they are 30 % of the training set."""
    copies, labels = _copies(images, digits, seed)
    times = int(np.ceil(_NEW_SHARE / (1 - _NEW_SHARE) * len(copies) / len(new_images)))
    return _fit(
        np.concatenate([copies, np.repeat(new_images, times, axis=0)]),
        np.concatenate([labels, np.repeat(new_digits, times)]),
        seed,
    )


def _copies(images: Images, digits: Digits, seed: int) -> tuple[Images, Digits]:
    rng = np.random.default_rng([seed, 3])
    copies = np.tile(images, (_COPIES, 1, 1))
    noise = rng.normal(0, _COPY_NOISE, copies.shape).astype(np.float32)
    return np.clip(copies + noise, 0, 1), np.tile(digits, _COPIES)


def _fit(images: Images, digits: Digits, seed: int) -> DigitModel:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier

    model = MLPClassifier(
        (_HIDDEN,),
        alpha=_ALPHA,
        max_iter=_EPOCHS,
        batch_size=64,
        random_state=seed,
        tol=0,
        n_iter_no_change=_EPOCHS,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the number of epochs is fixed on purpose
        model.fit(images.reshape(len(images), -1), digits)
    (first, second), (bias, last) = model.coefs_, model.intercepts_
    return DigitModel([np.asarray(weights, np.float32) for weights in (first, bias, second, last)])
