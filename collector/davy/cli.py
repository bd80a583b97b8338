"""The command line. Commands of other rooms come by the entry point group ``davy.commands``."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib.metadata import EntryPoint, entry_points, version
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from typer.core import TyperGroup

from davy import console, logs
from davy._directory import unread
from davy._near import meant
from davy.config import Settings, describe, load
from davy.errors import DavyError, OutputError, SettingError
from davy.labelstudio import LabelStudioProcess
from davy.requirements import absent, lacking
from davy.runner import beside_the_log, make_roles, open_runtime, require_roles, wanted
from davy.runner import run as run_roles


class _Group(TyperGroup):
    """Commands, of which those that are not there are refused with near names."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, known = args[0], self.list_commands(ctx)
        if not name.startswith("-") and self.get_command(ctx, name) is None:
            if name in known:
                raise lacking("command", _points()[name])
            listing = console.command(*([ctx.info_name] if ctx.parent else []), "--help")
            raise SettingError("command", name, f"no such command; {meant(name, known)}`{listing}` lists all")
        return super().resolve_command(ctx, args)


class _Rooms(_Group):
    """The commands of this file and those of every room that is installed, each imported when it is asked for."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(dict.fromkeys([*super().list_commands(ctx), *sorted(_points())]))

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in self.commands and cmd_name in _points() and not absent(_points()[cmd_name]):
            try:
                self.commands[cmd_name] = _built(cmd_name, _points()[cmd_name].load())
            except ImportError as error:
                logging.getLogger("davy.cli").debug("no command %s: %s", cmd_name, error)
        return super().get_command(ctx, cmd_name)


app = typer.Typer(
    cls=_Rooms,
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
LogFormat = Annotated[
    str | None, typer.Option(metavar="FORMAT", help="What is logged, a line an event: text or json.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def run_app(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return the exit code: 2 for wrong input, with one line on stderr.

    141, as a shell says of what a closed pipe ended, when whoever reads the output has gone.
    """
    try:
        with console.printing():
            return _run(list(sys.argv[1:] if arguments is None else arguments))
    except OutputError as error:
        if isinstance(error.__cause__, BrokenPipeError):
            return 141
        console.warn(f"davy: {error}")
        return 2


def _run(given: list[str]) -> int:
    try:
        _refuse_empty(given)
        return int(app(given or ["--help"], standalone_mode=False) or 0)
    except OutputError:
        raise
    except DavyError as error:
        console.warn(f"davy: {error}")
    except OSError as error:
        if error.filename is None:
            raise
        console.warn(f"davy: {error.filename}: {unread(error)}")
    except (typer.Abort, KeyboardInterrupt):
        return 130
    except typer.TyperException as error:
        for line in f"davy: {_one_line(error)}".split("\n"):  # a usage has several
            console.warn(line)
    return 2


def _refuse_empty(arguments: Sequence[str]) -> None:
    """Raise SettingError when one is empty: mostly a shell variable that is not set, and never what left out means."""
    for before, text in pairwise(["", *arguments]):
        joined = text.startswith("--") and "=" in text
        option, value = text.split("=", 1) if joined else (before, text)
        if not value:
            name = option if option.startswith("-") else "argument"
            raise SettingError(
                name, value, "is empty: give a value or leave it out; is a shell variable not set?"
            )


def _print_version(asked: bool) -> None:
    if asked:
        console.say(f"davy {version('davy')}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Take what is said before the command."""


@app.command()
def up(
    host: Host = None, port: Port = None, label_studio: WithLabelStudio = False, log_format: LogFormat = None
) -> int:
    """Start everything in one process: gateway, detectors, miner, metrics and status page. Ctrl-C stops it."""
    if not label_studio:
        return _serve(wanted, "gateway", host, port, log_format)
    console.announce("davy: starting Label Studio")
    with LabelStudioProcess(_LABEL_STUDIO) as server:
        found = server.found
        console.announce(f"davy: Label Studio on {found['url']} ({found['user']} / {found['password']})")
        settings = {"labelstudio.url": found["url"], "labelstudio.api_key": found["api_key"]}
        return _serve(wanted, "gateway", host, port, log_format, settings)


@app.command()
def run(
    target: Annotated[str, typer.Argument(help="The role: gateway, detect, mine, retain or archive.")],
    host: Host = None,
    port: Port = None,
    log_format: LogFormat = None,
) -> int:
    """Start one role in this process."""
    return _serve(lambda _: [target], "gateway" if target == "gateway" else "health", host, port, log_format)


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
    from davy.runner import open_what_answers

    with open_what_answers(load()) as runtime:
        checks = examine(runtime)
        console.show([check.shown() for check in checks], title="davy doctor", as_json=as_json)
        sys.stdout.flush()  # letting go of what hangs takes a while
    return 1 if any(check.state == "wrong" for check in checks) else 0


@app.command()
def status(
    as_json: AsJson = False,
    watch: Annotated[
        float | None,
        typer.Option(min=0.1, metavar="SECONDS", help="Look again so often, until Ctrl-C."),
    ] = None,
) -> int:
    """Say who works on what and how far it is. Exit code 1 when something is wrong."""
    from davy.status import look, opened, show

    with opened(load()) as runtime:
        while True:
            found = look(runtime)
            if watch is not None and not as_json:
                console.clear()
            show(found, as_json=as_json)
            sys.stdout.flush()
            if watch is None:
                return 1 if found.state == "wrong" else 0
            time.sleep(watch)


def _serve(
    choose: Callable[[Settings], Sequence[str]],
    server: str,
    host: str | None,
    port: int | None,
    log_format: str | None,
    more: Mapping[str, str] = _NOTHING,
) -> int:
    given = {f"{server}.host": host, f"{server}.port": port, "log_format": log_format, **more}
    overrides = {key: value for key, value in given.items() if value is not None}
    settings = beside_the_log(load(overrides=overrides))
    logs.begin(settings.log_format, settings.log_level)
    names = choose(settings)
    require_roles(names)  # before a directory is made
    with open_runtime(settings) as runtime:
        from davy.gateway import HealthTarget, HttpRole

        roles = make_roles(names, runtime)
        if "gateway" not in names:
            roles["health"] = HealthTarget(runtime)
        where = next(role.address for role in roles.values() if isinstance(role, HttpRole))
        if settings.log_format == "text":
            console.announce(f"davy: {', '.join(names)} on {runtime.log.url}, {where}; Ctrl-C stops it")
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


@cache
def _points() -> Mapping[str, EntryPoint]:
    return {point.name: point for point in entry_points(group="davy.commands")}


def _built(name: str, command: Any) -> Any:
    alone = typer.Typer(add_completion=False, rich_markup_mode=None)
    if isinstance(command, typer.Typer):
        alone.add_typer(command, name=name, cls=_Group)
    else:
        alone.command(name=name)(command)
    return typer.main.get_group(alone).commands[name]
