"""MLflow's tables: ``dataframe_split`` and ``dataframe_records`` ask; the answer is ``predictions``, as KServe's V1.

Source: mlflow.org/docs, "Inference server specification".
"""

from __future__ import annotations

from typing import Final

from davy.errors import InvalidInference
from davy.gateway.columns import TensorColumns, by_field
from davy.gateway.messages import ProtocolMessage

EXPECTS: Final = {"request": "dataframe_split or dataframe_records", "response": "predictions"}
_SPLIT: Final = "dataframe_split"
_RECORDS: Final = "dataframe_records"


def speaks(message: ProtocolMessage) -> bool:
    """Whether a message is of this protocol."""
    return message.asks and (_SPLIT in message.body or _RECORDS in message.body)


def read(message: ProtocolMessage) -> TensorColumns:
    """Read the table, a row an inference and a column a field; its index is no field.

    Raises
    ------
    InvalidInference
        It is no table.
    """
    if _RECORDS in message.body:
        rows = message.body[_RECORDS]
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise InvalidInference(_RECORDS, type(rows).__name__, "give a list of objects, one a row")
        return TensorColumns(by_field(rows, message.field), len(rows))
    table = message.body[_SPLIT]
    names, rows = (table.get("columns"), table.get("data")) if isinstance(table, dict) else (None, None)
    if not isinstance(rows, list) or not all(isinstance(row, list) for row in rows):
        raise InvalidInference(
            _SPLIT, type(table).__name__, "give an object with columns and data, a list of rows"
        )
    if not isinstance(names, list):
        return TensorColumns({message.field: rows}, len(rows))
    if any(len(row) != len(names) for row in rows):
        raise InvalidInference(
            f"{_SPLIT}.data", f"{len(rows)} rows", f"give {len(names)} values in each, as columns says"
        )
    return TensorColumns(
        {str(name): [row[place] for row in rows] for place, name in enumerate(names)}, len(rows)
    )
