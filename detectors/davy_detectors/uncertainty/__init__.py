"""How sure a model was of each answer, and how usual the input looked to it: one scorer a file.

Probability scores (`MaximumSoftmaxProbability`, `PredictiveEntropy`, `Margin`) are best at finding errors on usual
inputs, geometry scores (`MahalanobisPlusPlus`) at finding unusual inputs; no single score does both. Where there are no
probabilities of all classes, `StatedConfidence` takes what the model says of its answer and `MeanSurprisal` what its
tokens were to it.
"""

from davy_detectors.uncertainty.entropy import PredictiveEntropy
from davy_detectors.uncertainty.mahalanobis import MahalanobisPlusPlus
from davy_detectors.uncertainty.margin import Margin
from davy_detectors.uncertainty.msp import MaximumSoftmaxProbability
from davy_detectors.uncertainty.stated import StatedConfidence
from davy_detectors.uncertainty.surprisal import MeanSurprisal

__all__ = [
    "MahalanobisPlusPlus",
    "Margin",
    "MaximumSoftmaxProbability",
    "MeanSurprisal",
    "PredictiveEntropy",
    "StatedConfidence",
]
