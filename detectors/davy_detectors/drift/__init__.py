"""Whether the stream is still like the reference."""

from davy_detectors.drift.edetector import ScoreDictionaryDetector

__all__ = ["ScoreDictionaryDetector"]
