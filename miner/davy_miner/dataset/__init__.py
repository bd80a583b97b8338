"""Dataset versions: immutable directories of labelled inferences, verified whenever they are read.

Only forgetting an inference changes a version: its row leaves the files, and the manifest says so.

A version is a directory ``<model>/v3-1a2b3c4d`` with ``manifest.json`` (what is inside, from which label revision,
chosen how and with which probability, in which split) and ``rows.npz`` (the arrays). Its name ends in a hash of the
content.
"""

from davy_miner.dataset.build import build
from davy_miner.dataset.exports import Exporter, exported
from davy_miner.dataset.files import Dataset, load
from davy_miner.dataset.versions import diff, directory, find, versions

__all__ = ["Dataset", "Exporter", "build", "diff", "directory", "exported", "find", "load", "versions"]
