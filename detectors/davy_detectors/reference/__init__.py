"""What is normal for a model: fitted once from files or the log, versioned, put in force."""

from davy_detectors.reference.reference import Reference, ScoredBatch

__all__ = ["Reference", "ScoredBatch"]
