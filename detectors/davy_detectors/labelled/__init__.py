"""The labelled stream: feedback and labels meet the inference they are about, once each, in any order."""

from davy_detectors.labelled.batch import LabelledBatch
from davy_detectors.labelled.join import Join, JoinCounts
from davy_detectors.labelled.values import Values

__all__ = ["Join", "JoinCounts", "LabelledBatch", "Values"]
