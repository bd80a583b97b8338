"""What `davy reference fit` does: reads inferences, compares them with what is captured, fits; and fits what is new."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from davy.errors import DecodeError, ReferenceInvalid
from davy_detectors.batch import Batch
from davy_detectors.installed import Installed
from davy_detectors.reference.active import COLLECTION, put_fitted
from davy_detectors.reference.loading import Captured, captured_fields, read_file, read_log
from davy_detectors.reference.reference import LEAST, Reference
from davy_detectors.reference.schema import Rule, matches

if TYPE_CHECKING:
    from davy.config import DetectSettings
    from davy.runtime import Runtime

_PATIENCE_SECONDS: Final = 60.0
_logger: Final = logging.getLogger("davy.detectors")
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


def fit_new_scorers(runtime: Runtime, patience: float = _PATIENCE_SECONDS) -> list[str]:
    """Fit scorers that references lack, where the log still holds what these were fitted on; return the models.

    A reference that was fitted on a file, or of whose time the log holds too little, stays as it is: `davy doctor` says
    that its model is blind for the scorer. Whoever does this at the same time puts the same reference in force.

    Parameters
    ----------
    runtime
        Log, store, blobs and settings.
    patience
        Seconds after which the rest is left as it is: a log can be long.
    """
    installed, found = Installed(runtime.settings.detect, runtime.clock), []
    until = time.monotonic() + patience
    for model, data in list(runtime.store.items(COLLECTION)):
        try:
            reference = Reference.from_bytes(data, installed, runtime.blobs)
            if not reference.unfitted(installed) or not reference.learned_until:
                continue
            batch = read_log(
                runtime.log,
                model,
                last=reference.size,
                until=reference.learned_until + 1,
                patience=until - time.monotonic(),
            )
            if len(batch) < LEAST:
                continue
            another = reference.with_scorers(batch, installed)
        except (DecodeError, ReferenceInvalid) as error:
            _logger.warning("scorers that the reference of %s lacks are not fitted: %s", model, error)
            continue
        if another.tried != reference.tried and runtime.store.get(COLLECTION, model) == data:
            put_fitted(runtime, another)
            new = sorted(another.kept.keys() - reference.kept.keys())
            _logger.info(
                "the reference of %s was fitted with %s as well", model, ", ".join(new) or "nothing new"
            )
            found.append(model)
    return found


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
