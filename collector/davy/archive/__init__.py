"""The archive: all that the log holds as Parquet files by model and day, for everything that reads Parquet.

A file holds the rows of one range of offsets of one partition, and its name says which. The role seals a range in the
store before it writes the range's files, and forgets the range after: a role that dies anywhere writes the same files
again, under the same names, from the same records.
"""

from davy.archive.health import checks
from davy.archive.target import ArchiveTarget

__all__ = ["ArchiveTarget", "checks"]
