"""The command line. Commands of other rooms come by the entry point group ``davy.commands``."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated, Final

import typer

from davy import console
from davy._urls import without_password
from davy.config import Settings, describe, load
from davy.errors import DavyError
from davy.labelstudio import LocalLabelStudio
from davy.runner import beside_the_log, make_roles, open_runtime, wanted
from davy.runner import run as run_roles

app = typer.Typer(
    name="davy",
    help="Davy watches machine-learning models in production and mines their failures.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
_LABEL_STUDIO: Final = Path(".davy/label-studio")
_NOTHING: Final[Mapping[str, str]] = {}
Host = Annotated[
    str | None, typer.Option(help="Address to listen on; anything but loopback needs an API key.")
]
Port = Annotated[int | None, typer.Option(help="Port to listen on; 0 lets the system choose.")]
WithLabelStudio = Annotated[
    bool, typer.Option("--label-studio", help="Start a Label Studio of this machine's own beside it.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def run_app(arguments: Sequence[str] | None = None) -> int:
    """Run a command; give the exit code: 2 for wrong input, with one line on stderr."""
    load_commands()
    try:
        given = list(sys.argv[1:] if arguments is None else arguments)
        return int(app(given or ["--help"], standalone_mode=False) or 0)
    except DavyError as error:
        sys.stderr.write(f"davy: {error}\n")
    except (typer.Abort, KeyboardInterrupt):
        return 130
    except typer.TyperException as error:
        sys.stderr.write(f"davy: {_one_line(error)}\n")
    return 2


def load_commands() -> None:
    """Add the commands of every room that is installed."""
    for point in sorted(entry_points(group="davy.commands"), key=lambda point: point.name):
        try:
            _add(point.name, point.load())
        except ImportError as error:  # a room without its extra: `davy doctor` names it
            logging.getLogger("davy.cli").debug("no command %s: %s", point.name, error)


@app.command()
def up(host: Host = None, port: Port = None, label_studio: WithLabelStudio = False) -> int:
    """Start everything in one process: gateway, detectors, miner, metrics and status page. Ctrl-C stops it."""
    if not label_studio:
        return _serve(wanted, "gateway", host, port)
    console.say("davy: starting Label Studio")
    with LocalLabelStudio(_LABEL_STUDIO) as server:
        found = server.found
        console.say(f"davy: Label Studio on {found['url']} ({found['user']} / {found['password']})")
        settings = {"labelstudio.url": found["url"], "labelstudio.api_key": found["api_key"]}
        return _serve(wanted, "gateway", host, port, settings)


@app.command()
def run(
    target: Annotated[str, typer.Argument(help="The role: gateway, detect, mine, retain or archive.")],
    host: Host = None,
    port: Port = None,
) -> int:
    """Start one role in this process."""
    return _serve(lambda _: [target], "gateway" if target == "gateway" else "health", host, port)


@app.command()
def doctor(
    as_json: AsJson = False,
    settings: Annotated[bool, typer.Option("--settings", help="List every setting instead.")] = False,
) -> int:
    """Say what is configured, what answers, what is wrong and what to do. Exit code 1 when something is wrong."""
    if settings:
        console.show(_settings(load()), title="settings", as_json=as_json)
        return 0
    from davy.doctor import examine

    with open_runtime(forgotten=True) as runtime:  # the log as it is, not a view of it
        checks = examine(runtime)
    rows = [
        {"what": c.what, "state": c.state, "found": without_password(c.found), "remedy": c.remedy}
        for c in checks
    ]
    console.show(rows, title="davy doctor", as_json=as_json)
    return 1 if any(check.state == "wrong" for check in checks) else 0


def _serve(
    choose: Callable[[Settings], Sequence[str]],
    server: str,
    host: str | None,
    port: int | None,
    more: Mapping[str, str] = _NOTHING,
) -> int:
    given = {f"{server}.host": host, f"{server}.port": port, **more}
    overrides = {key: value for key, value in given.items() if value is not None}
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it writes a line a request
    with open_runtime(load(overrides=overrides)) as runtime:
        from davy.gateway import HealthTarget, HttpRole

        names = choose(runtime.settings)
        roles = make_roles(names, runtime)
        if "gateway" not in names:
            roles["health"] = HealthTarget(runtime)
        where = next(role.address for role in roles.values() if isinstance(role, HttpRole))
        console.say(f"davy: {', '.join(names)} on {runtime.log.url}, {where}; Ctrl-C stops it")
        sys.stdout.flush()
        return run_roles(roles, runtime)


def _settings(settings: Settings) -> list[dict[str, object]]:
    return [
        {
            "setting": one.key,
            "variable": one.variable,
            "value": one.shown,
            "default": one.default,
            "help": one.help,
        }
        for one in describe(beside_the_log(settings))
    ]


def _one_line(error: typer.TyperException) -> str:
    message: str = error.format_message() if hasattr(error, "format_message") else str(error)
    return message if message.startswith("Usage:") else " ".join(message.split())


def _add(name: str, command: object) -> None:
    if isinstance(command, typer.Typer):
        app.add_typer(command, name=name)
    elif callable(command):
        app.command(name=name)(command)
