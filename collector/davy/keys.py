"""The command ``davy keys``: who may write to the gateway and who may read from it."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from davy import console
from davy.runner import open_runtime

if TYPE_CHECKING:
    from davy.gateway.keys import Key

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
KeyId = Annotated[str, typer.Argument(help="The key's id, as `davy keys list` shows it.")]

keys = typer.Typer(help="API keys of the gateway: who may write, who may read.", no_args_is_help=True)


@keys.command("create")
def _create(
    project: Annotated[str, typer.Argument(help="Whose key it is: a name of your choice.")],
    scope: Annotated[
        list[str] | None, typer.Option(help="write (send) or read (metrics, pages); write if not given.")
    ] = None,
    any_model: Annotated[
        bool,
        typer.Option("--any-model", help="Call models as they are sent, and not PROJECT/NAME:VERSION."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Make a key and show it, this once: the store keeps only a hash of it."""
    from davy.gateway.keys import KeyRing, require_rights

    scopes = scope or ["write"]
    require_rights(project, scopes, binds=not any_model)  # before a directory is made
    with open_runtime() as runtime:
        KeyRing.of(runtime).create(project, scopes, binds=not any_model, show=partial(_show, as_json))


@keys.command("list")
def _list(as_json: AsJson = False) -> None:
    """List the keys, those that ended too; never their secrets."""
    from davy.gateway.keys import KeyRing

    with open_runtime(make=False) as runtime:
        rows = [_row(key) for key in KeyRing(runtime.store).listed()]
    console.show(rows, title="keys", as_json=as_json, empty="none yet; `davy keys create` makes one")


@keys.command("revoke")
def _revoke(key: KeyId, as_json: AsJson = False) -> None:
    """End a key; gateways that run refuse it within two seconds."""
    from davy.gateway.keys import KeyRing

    with open_runtime(make=False) as runtime:
        found = KeyRing(runtime.store).revoke(key)
    console.show_one(_row(found), title="key", as_json=as_json)


@keys.command("rotate")
def _rotate(
    key: KeyId,
    overlap_hours: Annotated[
        float, typer.Option(help="Hours in which the old key stays good too.", min=0)
    ] = 24.0,
    as_json: AsJson = False,
) -> None:
    """Make a key like this one, show it once, and end this one, a day later if not told otherwise."""
    from davy.gateway.keys import KeyRing

    with open_runtime(make=False) as runtime:
        KeyRing.of(runtime).rotate(key, overlap_hours=overlap_hours, show=partial(_show, as_json))


def _show(as_json: bool, key: Key, secret: str) -> None:
    """Print a key that is about to be good; it has to arrive, for nobody can read it later."""
    console.show_one({**_row(key), "key": secret}, title="key", as_json=as_json)
    sys.stdout.flush()


def _row(key: Key) -> dict[str, Any]:
    return {
        "id": key.id,
        "project": key.project,
        "scopes": ", ".join(key.scopes),
        "writes": (f"{key.project}/*" if key.binds else "any model") if "write" in key.scopes else None,
        "made": _time(key.made_at),
        "ends": _time(key.ends_at) if key.ends_at else None,
    }


def _time(at: int) -> str:
    return datetime.fromtimestamp(at / 1e9, UTC).isoformat(timespec="seconds")
