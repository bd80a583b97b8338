"""What `davy reference fit` does: reads inferences, compares them with what is captured, fits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from davy.errors import ReferenceInvalid
from davy_detectors.batch import Batch
from davy_detectors.reference.loading import Captured, captured_fields, read_file, read_log
from davy_detectors.reference.reference import Reference
from davy_detectors.reference.schema import Rule, matches

if TYPE_CHECKING:
    from davy.config import DetectSettings
    from davy.runtime import Runtime

_ENOUGH: Final = 200
"""Inferences after which a field that none of them had counts as never captured."""


def rules(**asked: Sequence[str] | None) -> list[Rule]:
    """Return what the options of the command say, as rules: ``ignore=["a"]`` is ``("a", "ignore")``.

    Raises
    ------
    ReferenceInvalid
        Two of them say different things of one name.
    """
    found: dict[str, str] = {}
    for meaning, patterns in asked.items():
        for pattern in patterns or ():
            if found.setdefault(pattern, meaning) != meaning:
                raise ReferenceInvalid(
                    f"--{meaning}", pattern, f"is given with --{found[pattern]} too; keep one of them"
                )
    return list(found.items())


def fit_on_log(
    runtime: Runtime,
    model: str,
    *,
    last: int,
    since: int | None,
    until: int | None,
    asked: Sequence[Rule] = (),
) -> Reference:
    """Fit the reference of a model on what the log holds of it.

    Raises
    ------
    ReferenceInvalid
        There is too little, or an option names no field.
    """
    batch = read_log(runtime.log, model, last=last, since=since, until=until)
    _refuse_unknown(asked, batch)
    settings = _settings(runtime, asked)
    return Reference.fit(model, batch, settings=settings, learned_until=int(batch.at.max()))


def read_examples(model: str, file: Path, asked: Sequence[Rule] = ()) -> Batch:
    """Read a file to fit on; nothing of Davy's has to be there for that.

    Raises
    ------
    ReferenceInvalid
        It cannot be read, or an option names no field.
    """
    batch = read_file(model, file)
    _refuse_unknown(asked, batch)
    return batch


def fit_on_file(
    runtime: Runtime, model: str, file: Path, batch: Batch, asked: Sequence[Rule] = ()
) -> Reference:
    """Fit the reference of a model on what `read_examples` gave.

    Raises
    ------
    ReferenceInvalid
        There is too little, or the file has nothing that this model's inferences have.
    """
    captured = captured_fields(runtime.log).get(model, Captured())
    if captured.fields:
        _refuse_foreign(file, batch, captured.fields)
    known = captured.inferences >= _ENOUGH
    return Reference.fit(
        model,
        batch,
        settings=_settings(runtime, asked),
        captured=frozenset(captured.fields) if known else None,
        proven=known,
    )


def _settings(runtime: Runtime, asked: Sequence[Rule]) -> DetectSettings:
    settings = runtime.settings.detect
    return replace(settings, fields=(*asked, *settings.fields))


def _refuse_unknown(asked: Sequence[Rule], batch: Batch) -> None:
    for pattern, meaning in asked:
        if not any(matches(pattern, path) for path in batch.fields):
            raise ReferenceInvalid(
                f"--{meaning}", pattern, f"names no field; there are {_names(batch.fields)}"
            )


def _refuse_foreign(file: Path, batch: Batch, captured: Mapping[tuple[str, ...], int]) -> None:
    mine = {path: 1 for path in batch.fields if path[0] in _SECTIONS}
    theirs = {path: 1 for path in captured if path[0] in _SECTIONS}
    if mine and theirs and not mine.keys() & theirs.keys():
        raise ReferenceInvalid(
            "--file",
            file.name,
            f"has {_names(mine)}, and what was captured of this model has {_names(theirs)}: name columns as captured",
        )


_SECTIONS: Final = frozenset({"inputs", "outputs", "embedding"})


def _names(paths: Mapping[tuple[str, ...], object]) -> str:
    names = sorted(".".join(path) for path in paths)
    return ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")
