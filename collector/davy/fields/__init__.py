"""What a value is: the one table that the SDK, the gateway, reference files, detectors and the archive ask.

``plain`` says what travels of a value, ``record`` and ``flatten`` how an object becomes fields, ``columns_of`` and
``column`` how a table becomes columns. What cannot travel is `Unfit`, with a reason that is counted; everything beside
it travels. docs/fields.md shows the table, and a test compares it with what these functions do.
"""

from davy.fields.flattening import Flattener, flatten
from davy.fields.missing import is_missing
from davy.fields.plain import Unfit, plain
from davy.fields.records import record
from davy.fields.tables import column, columns_of, settled

__all__ = [
    "Flattener",
    "Unfit",
    "column",
    "columns_of",
    "flatten",
    "is_missing",
    "plain",
    "record",
    "settled",
]
