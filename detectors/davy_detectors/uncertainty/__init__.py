"""How sure a model was of each answer, and how usual the input looked to it: one scorer a file.

Probability scores (`MaximumSoftmaxProbability`, `PredictiveEntropy`, `Margin`) are best at finding errors on usual
inputs, geometry scores (`MahalanobisPlusPlus`) at finding unusual inputs; no single score does both.
"""

from davy_detectors.uncertainty.entropy import PredictiveEntropy
from davy_detectors.uncertainty.mahalanobis import MahalanobisPlusPlus
from davy_detectors.uncertainty.margin import Margin
from davy_detectors.uncertainty.msp import MaximumSoftmaxProbability

__all__ = ["MahalanobisPlusPlus", "Margin", "MaximumSoftmaxProbability", "PredictiveEntropy"]
