"""Messages of protobuf as records, read by what they say of themselves: protobuf is not imported.

A message knows its fields by its descriptor [1]_. Of a field that tells whether it was set, one that was not is no part
of the record: nothing was said. Any other has its value, the default among them: zero is a number. Values of an
enumeration are their names, repeated fields lists, maps mappings, messages in messages records again.

References
----------
.. [1] Protocol Buffers Documentation, "Field Presence".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def is_message(kind: type) -> bool:
    """Return whether a type is that of messages: it has a descriptor of fields, and lists those that are set."""
    return hasattr(getattr(kind, "DESCRIPTOR", None), "fields") and hasattr(kind, "ListFields")


def message_fields(message: Any) -> dict[str, Any]:
    """Return the fields of a message by name."""
    written = dict.fromkeys(field.name for field, _ in message.ListFields())
    return {
        field.name: _value(field, getattr(message, field.name))
        for field in message.DESCRIPTOR.fields
        if field.name in written or not field.has_presence
    }


def _value(field: Any, value: Any) -> Any:
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        inner = field.message_type.fields_by_name["value"]
        return {key: _value(inner, value[key]) for key in value}
    if field.message_type is not None and _repeats(field):
        return [each if isinstance(each, Mapping) else message_fields(each) for each in value]
    if field.enum_type is None:
        return list(value) if _repeats(field) else value
    return [_name(field, each) for each in value] if _repeats(field) else _name(field, value)


def _repeats(field: Any) -> bool:
    found = getattr(field, "is_repeated", None)  # releases before 6.31 have the label alone
    return field.label == field.LABEL_REPEATED if found is None else bool(found)


def _name(field: Any, number: int) -> Any:
    found = field.enum_type.values_by_number.get(number)
    return number if found is None else found.name  # of another release of the schema
