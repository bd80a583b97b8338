"""Davy's detectors: whether a model still sees what it knows, and which of its answers look wrong."""

from davy_detectors.base import Alarm, Monitor, Reading, Scorer
from davy_detectors.batch import Batch
from davy_detectors.reference import Reference

__all__ = ["Alarm", "Batch", "Monitor", "Reading", "Reference", "Scorer"]
