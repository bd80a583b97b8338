"""Write docs/performance.md from the figures under ``benchmarks/results/``: ``python -m benchmarks.page``."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.scale.page import body as scale
from benchmarks.scale.page import grid

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PAGE = ROOT / "docs" / "performance.md"
NAMES = (
    "demo",
    "demo-scale",
    "codec",
    "log",
    "detectors",
    "sdk",
    "gateway",
    "sdk-peers",
    "scale",
    "faults",
    "soak",
)
HEAD = """# Figures

Written by `python -m benchmarks.page` from `benchmarks/results/`; `make bench` and `make bench-demo` measure anew.
A machine of two shared cores is noisy: each file holds the time of a fixed loop before and after, medians are of
several repeats, and ratios say more than single figures.
"""


def page() -> str:
    found = {name: json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8")) for name in NAMES}
    return "\n".join([HEAD, *(SECTIONS.get(name, section)(one) for name, one in found.items())])


def demo(found: dict[str, Any]) -> str:
    runs = found["runs"]
    mined = sum(run["mined"]["distinct_failures"] for run in runs)
    random = sum(run["random"]["distinct_failures"] for run in runs)
    ratios = [r["mined"]["distinct_failures"] / r["random"]["distinct_failures"] for r in runs]
    bad, clean = ([run["accuracy"][name] for run in runs] for name in ("bad", "clean"))
    loss = [one["mined"] - one["before"] for one in clean]
    delays = [run["alarm"]["delay_events"] for run in runs]
    labels = sum(run["mined"]["labels"] for run in runs)
    lines = [
        ("alarm raised, of runs", f"{sum(r['alarm']['raised'] for r in runs)} of {len(runs)}"),
        ("alarms on clean runs of the same length", f"{sum(r['alarm']['clean_alarms'] for r in runs)}"),
        ("inferences from onset to alarm, median (worst)", f"{median(delays):g} ({max(delays)})"),
        ("failures per label, mined", f"{sum(r['mined']['failures'] for r in runs) / labels:.2f}"),
        ("failures per label, random", f"{sum(r['random']['failures'] for r in runs) / labels:.2f}"),
        ("distinct failures per label, mined", f"{mined / labels:.2f}"),
        ("distinct failures per label, random", f"{random / labels:.2f}"),
        (
            "the same, mined over random: all seeds (median, least, most of a seed)",
            f"{mined / random:.1f} ({median(ratios):.1f}, {min(ratios):.1f}, {max(ratios):.1f})",
        ),
        ("accuracy on bad traffic before", f"{mean(bad, 'before'):.3f}"),
        ("after mined labels", f"{mean(bad, 'mined'):.3f}"),
        ("after as many random labels", f"{mean(bad, 'random'):.3f}"),
        (
            "runs in which mined beat random",
            f"{sum(one['mined'] > one['random'] for one in bad)} of {len(runs)}",
        ),
        ("accuracy on clean traffic before", f"{mean(clean, 'before'):.3f}"),
        ("after mined labels", f"{mean(clean, 'mined'):.3f}"),
        ("largest loss of a run, points", f"{-100 * min(loss):.2f}"),
        ("captured, stored, dropped", ", ".join(f"{sum(r['ledger'][k] for r in runs):,}" for k in LEDGER)),
    ]
    return f"## The demo, {len(runs)} seeds\n\n`make bench-demo`\n\n{table(lines)}"


def demo_scale(found: dict[str, Any]) -> str:
    """Show each seed beside the run of the same seed on SQLite."""
    one_machine = {
        run["seed"]: run for run in json.loads((RESULTS / "demo.json").read_text(encoding="utf-8"))["runs"]
    }
    columns = {
        "inferences from onset to alarm": lambda run: run["alarm"]["delay_events"],
        "failures of labels, mined": lambda run: f"{run['mined']['failures']} of {run['mined']['labels']}",
        "random": lambda run: f"{run['random']['failures']} of {run['random']['labels']}",
        "accuracy on bad traffic after mined labels": lambda run: f"{run['accuracy']['bad']['mined']:.3f}",
        "captured, stored, dropped": lambda run: ", ".join(f"{run['ledger'][key]:,}" for key in LEDGER),
    }
    rows = [
        (f"seed {run['seed']}, {name}", [str(show(one)) for show in columns.values()])
        for run in found["runs"]
        for name, one in (("SQLite", one_machine[run["seed"]]), ("Kafka, Redis, S3", run))
    ]
    note = (
        "Samples of an incident are flagged from the moment a worker learns of it, so labels may differ by a few; all "
        "else is the same.\n\n"
    )
    return "## The demo on a cluster\n\n`make bench-demo-scale`\n\n" + note + grid(columns, rows)


LEDGER = ("captured", "stored", "counted")


def mean(found: list[dict[str, float]], name: str) -> float:
    return sum(one[name] for one in found) / len(found)


def section(found: dict[str, Any]) -> str:
    return head(found) + table(list(flat(found["figures"], "")))


def head(found: dict[str, Any]) -> str:
    noise = found["calibration_ms"]
    machine = found["machine"]
    return (
        f"## {found['benchmark']}\n\n`{found['command']}`, Python {machine['python']}, numpy {machine['numpy']}, "
        f"{machine['cores']} cores; calibration loop {noise['before']['median']:g} ms before, "
        f"{noise['after']['median']:g} ms after\n\n"
    )


PEERS = (
    ("30_floats_p50_us", "30 floats, p50 us"),
    ("30_floats_p99_us", "p99 us"),
    ("768_float32_p50_us", "768 float32, p50 us"),
    ("150_kb_image_p50_us", "150 KB image, p50 us"),
    ("sampled_out_p50_us", "sampled out, p50 us"),
    ("batch_us_per_row", "batch, us a row"),
    ("background_us_per_event", "other threads, us an event"),
    ("import_ms", "import ms"),
    ("distributions", "distributions"),
    ("exit_silent_seconds", "exit, silent, s"),
    ("exit_refused_seconds", "exit, refused, s"),
    ("dead_endpoint_growth_mb", "growth, MB"),
)


def peers(found: dict[str, Any]) -> str:
    clients, compared = found["figures"]["clients"], found["figures"]["comparison"]
    rows = [(text, [short(client.get(key)) for client in clients.values()]) for key, text in PEERS]
    times = compared["times_below_the_next_tracing_or_analytics_client"]
    note = (
        "The same payloads, each client in processes and an environment of its own, against an endpoint in this run; "
        "growth is that of resident memory in 100,000 calls (or 12 s of them) into an endpoint that refuses. A client "
        f"that does not take a payload says why. A capture of 30 floats is {times:g} times below that of the next "
        f"tracing or analytics client ({compared['next']}).\n\n"
    )
    return head(found) + note + grid(clients, rows)


def faults(found: dict[str, Any]) -> str:
    columns = {
        "rounds that held": lambda one: f"{one['rounds_in_which_every_check_held']} of {one['rounds']}",
        "captured": lambda one: f"{one['captured']:,}",
        "stored and counted": lambda one: f"{one['stored_and_counted']:,}",
        "late": lambda one: one["late"],
        "incidents": lambda one: one["incidents"],
        "tasks": lambda one: one["tasks"],
        "rest, median (worst) s": lambda one: (
            f"{one['seconds_to_rest']['median']:.1f} ({one['seconds_to_rest']['worst']:.1f})"
        ),
    }
    rows = [(name, [str(show(one)) for show in columns.values()]) for name, one in found["figures"].items()]
    note = (
        "Three brokers, Redis and its replica, two detect processes, one that mines, an app, and a Label Studio with "
        "its vices; one more run has a real Label Studio. After each round what was captured is stored or counted, "
        "every chosen candidate has one task, and counts and statistics are those of one process that reads the same "
        "log undisturbed. Rest is the time from the end of the traffic until all of it is counted, tested "
        "and with the labelling tool.\n\n"
    )
    return head(found) + note + grid(columns, rows)


def soak(found: dict[str, Any]) -> str:
    figures = dict(found["figures"])
    minutes = figures.pop("by_minute")
    note = (
        "The deployment of the fault tests at half of the most inferences a second that it counts on this machine; a "
        "fault and two vices of the labelling tool every minute. The run ends where a minute leaves anything to count, "
        "test or push. What was captured is stored or counted at the end, and every chosen candidate has one task. All "
        "traffic drifts in the minutes in which a worker is killed. Lag is looked at every five seconds while traffic "
        "flows. A slope of memory is that of a process that lived for eight minutes, from its fourth on; memory steps "
        "up when an incident is looked into and stays there.\n\n"
    )
    rests: dict[str, list[float]] = {}
    for one in minutes:
        rests.setdefault(one["fault"], []).append(one["rest_seconds"])
    rows = [(name, [str(len(each)), f"{median(each):.1f} ({max(each):.1f})"]) for name, each in rests.items()]
    by_fault = grid(["minutes", "rest, median (worst) s"], rows)
    return head(found) + note + table(list(flat(figures, ""))) + "\n" + by_fault


def whole(found: dict[str, Any]) -> str:
    return head(found) + scale(found["figures"])


SECTIONS = {
    "demo": demo,
    "demo-scale": demo_scale,
    "sdk-peers": peers,
    "scale": whole,
    "faults": faults,
    "soak": soak,
}


def short(value: Any) -> str:
    if isinstance(value, str):
        return value.partition(":")[0]
    return "" if value is None else f"{value:,.4g}" if isinstance(value, float) else str(value)


def flat(found: Any, name: str) -> Any:
    if isinstance(found, dict):
        for key, value in found.items():
            yield from flat(value, f"{name}, {key}" if name else str(key))
    elif isinstance(found, float):
        yield name.replace("_", " "), f"{found:,.4g}" if abs(found) < 1000 else f"{found:,.0f}"
    else:
        yield name.replace("_", " "), f"{found:,}" if isinstance(found, int) else str(found)


def table(lines: list[tuple[str, str]]) -> str:
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in lines)]) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(f"wrote {PAGE}")
