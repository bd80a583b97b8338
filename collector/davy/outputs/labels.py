"""What a model says it answered: one label, or several."""

from __future__ import annotations

from typing import Any, Final

from davy.outputs.fields import CLASS_NAMES, Fields, is_text_list
from davy.outputs.values import Scalar, elements_of, items, key, scalar, text, whole

LABELS: Final = (
    "label",
    "class",
    "class_name",
    "class_label",
    "class_id",
    "predicted_label",
    "predicted_class",
    "pred_label",
    "top_label",
    "category",
    "decision",
    "verdict",
    "intent",
    "sentiment",
)
"""Fields that hold the class a model chose."""
VALUES: Final = ("prediction", "predicted", "pred", "y_pred", "predict", "predictions", "value")
"""Fields that hold whatever a model answered: a class or a number."""
SEVERAL: Final = ("labels", "tags", "categories", "predicted_labels", "label")
"""Fields that hold every class a model found, where several can be right at once."""
LONGEST_NAME: Final = 120
"""Characters of a class name; longer ones, and those of several lines, are texts."""


def single_label(fields: Fields) -> Scalar | None:
    """Return the class a model chose, as the outputs write it; None without."""
    for name in LABELS:
        if (found := scalar(fields.get(name))) is not None and is_name(found):
            return found
    if "name" in fields and ("score" in fields or "confidence" in fields):
        return scalar(fields["name"])
    named = bool(fields.class_names())
    for name in VALUES:
        found = None if name == "value" and _bare_list(fields) else scalar(fields.get(name))
        if isinstance(found, bool) or (isinstance(found, str) and is_name(found)):
            return found
        if named and whole(found) is not None:
            return found
    return None


def several_labels(fields: Fields) -> list[Scalar] | None:
    """Return the list of classes a model found; None without such a list."""
    for name in SEVERAL:
        value = fields.get(name)
        if elements_of(value) is None or (name == "label" and scalar(value) is not None):
            continue
        found = items(value)
        if found is not None and all(map(is_name, found)):
            return found
    for name in ("classes", *VALUES) if len(fields) == 1 else VALUES:
        value = fields.get(name)
        alone = name == "classes" or (name == "value" and _bare_list(fields))
        if is_text_list(value) and (alone or scalar(value) is None):
            found = items(value)
            return found if found is not None and all(map(is_name, found)) else None
    return None


def _bare_list(fields: Fields) -> bool:
    """Whether a list of texts in ``value`` is all there is: then it is a list, be it of one."""
    return not (set(fields) - {"value", *CLASS_NAMES}) and is_text_list(fields.get("value"))


def abstains(fields: Fields) -> bool:
    """Return whether the outputs name the field of a label and leave it empty."""
    return any(name in fields.absent for name in (*LABELS, *VALUES)) and single_label(fields) is None


def marks_one(listed: list[Scalar]) -> bool:
    """Return whether a row of zeros and ones marks exactly one class."""
    return len(indicated(listed, ()) or ()) == 1


def is_name(value: Any) -> bool:
    """Return whether a value can name a class: short text of one line, or a number."""
    if isinstance(value, str):
        return len(value.strip()) > 0 and len(value) <= LONGEST_NAME and "\n" not in value
    return value is not None


def resolve(label: Scalar, names: tuple[str, ...]) -> str:
    """Return the name of the class that a label stands for: its own text, or the name in its column.

    A number is the number of a column only where no class is named by a number.

    Examples
    --------
    >>> resolve(3, ("1", "2", "3")), resolve(1, ("cat", "dog")), resolve(True, ("no", "yes"))
    ('3', 'dog', 'yes')
    >>> resolve("unsure", ("cat", "dog"))
    'unsure'
    """
    index = column_of(label, names)
    return text(label) if index is None else names[index]


def column_of(label: Scalar, names: tuple[str, ...]) -> int | None:
    """Return the column a label belongs to; None when it is none of the named classes."""
    wanted = key(label)
    for at, name in enumerate(names):
        if key(name) == wanted:
            return at
    if isinstance(label, bool):
        numbered = [at for at, name in enumerate(names) if key(name) == str(int(label))]
        return numbered[0] if numbered else int(label) if len(names) == 2 else None
    column = whole(label)
    if column is None or any(_numeric(name) for name in names):
        return None
    return column if 0 <= column < len(names) else None


def indicated(flags: list[Scalar], names: tuple[str, ...]) -> list[str] | None:
    """Return the classes that a row of zeros and ones marks; None when it is no such row."""
    if len(flags) < 2 or any(flag not in (0, 1) or isinstance(flag, str) for flag in flags):
        return None
    if names and len(names) != len(flags):
        return None
    columns = names or tuple(map(str, range(len(flags))))
    return [name for name, flag in zip(columns, flags, strict=True) if flag]


def _numeric(name: str) -> bool:
    try:
        float(name)
    except ValueError:
        return False
    return True
