"""Write docs/performance.md from the figures under ``benchmarks/results/``: ``python -m benchmarks.page``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.app.page import body as app
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
    "nulls",
    "sdk",
    "gateway",
    "archive",
    "sdk-peers",
    "app",
    "scale",
    "faults",
    "faults-embedded",
    "soak",
    "age",
    "installs",
    "keys",
    "space",
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


def archive(found: dict[str, Any]) -> str:
    figures = found["figures"]
    titles = ["rows a second of a core", "before", "bytes an inference", "before", "rows, now over before"]
    rows = [
        (
            name.replace("_", " "),
            [
                f"{one[of][key]:,}"
                for key in ("rows_per_second", "bytes_per_inference")
                for of in ("now", "before")
            ]
            + [f"{median(ratios):g} ({min(ratios):g} to {max(ratios):g})"],
        )
        for name, one in figures.items()
        for ratios in [one["before"]["now_over_before"]]
    ]
    note = (
        "From the log, in memory, to files on a disk: read twice, decoded, written as Parquet. Before: when each file "
        "chose its types, lists of single precision stayed so, and one value of another kind made text of a column. "
        "Rates of one run move by a third on this machine; the ratios are of five runs in turns, median, least and "
        "most: numbers and mixed fields are faster, vectors the same, small pictures of bytes slower by an eighth."
        "\n\n"
    )
    return head(found) + note + grid(titles, rows)


PEERS = (
    ("30_floats_p50_us", "30 floats, p50 us"),
    ("30_floats_p99_us", "p99 us"),
    ("768_float32_p50_us", "768 float32, p50 us"),
    ("150_kb_image_p50_us", "150 KB image, p50 us"),
    ("watch_p50_us", "a call of a model, 30 to 3 float64, in bursts of 400, p50 us"),
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
    span = compared.get("watch_times_below_a_span_of_opentelemetry")
    note = (
        "The same payloads, each client in processes and an environment of its own, against an endpoint in this run; "
        "growth is that of resident memory in 100,000 calls (or 12 s of them) into an endpoint that refuses. A client "
        f"that does not take a payload says why. A capture of 30 floats is {times:g} times below that of the next "
        f"tracing or analytics client ({compared['next']})"
        + (f", a watched call {span:g} times below a span of OpenTelemetry" if span else "")
        + ".\n\n"
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


_COUNTS = (
    "`davy up` and an app that captures some 300 inferences a second, by one clock and on one directory, or on "
    "services: a Kafka and a Redis. The clock jumps while inferences flow, and is set right again before 30 % of them "
    "begin to drift by four standard deviations; or log, store or directory go away under the two, or while `davy up` "
    "is down. After each round everything captured is counted once, but for what went with a file that somebody took "
    "away, which is told by number. Sums are over all rounds, times are median (worst)."
)
_TRUTH = (
    "The same at 100 a second, or a gateway, a detect and a mine process where one of them is stopped or killed. Times "
    "are from the fault until /readyz says what is wrong, from then until `davy doctor` does (which takes a second or "
    "two, and longer while Label Studio answers errors), and the same after the repair; more than 30 s fails the "
    "round. Every tenth round with a locked store lasts ten minutes."
)


def faults_embedded(found: dict[str, Any]) -> str:
    def time(key: str) -> Callable[[dict[str, Any]], str]:
        return lambda one: f"{one[key]['median']:.1f} ({one[key]['worst']:.1f})" if key in one else ""

    both: dict[str, Callable[[dict[str, Any]], str]] = {
        "rounds that held": lambda one: f"{one['rounds_in_which_every_check_held']} of {one['rounds']}",
        "captured": lambda one: f"{one['captured']:,}",
        "counted": lambda one: f"{one['counted']:,}",
    }
    counts = {
        **both,
        "told to be gone": lambda one: f"{one.get('told_to_be_gone', 0):,}",
        "drift to incident s": time("seconds_to_incident"),
    }
    truth = {
        **both,
        "dropped and counted as such": lambda one: f"{one['dropped']:,}",
        "wrong on /readyz s": time("readyz_seconds"),
        "then in davy doctor s": time("doctor_seconds"),
        "well on /readyz s": time("readyz_well_seconds"),
        "then in davy doctor s ": time("doctor_well_seconds"),
    }
    parts = []
    for suite, note, columns in (("counts", _COUNTS, counts), ("truth", _TRUTH, truth)):
        figures = found["figures"][suite]
        rows = [(name, [show(one) for show in columns.values()]) for name, one in figures.items()]
        parts.append(f"{note}\n\n{grid(columns, rows)}")
    return head(found) + "\n".join(parts)


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


def age(found: dict[str, Any]) -> str:
    months = found["figures"]["by_month"]
    columns = {
        "memory, MB": "memory_mb",
        "store, KB": "store_kb",
        "answers and what they belong to, KB": "kept_for_good_kb",
        "scrape, KB": "scrape_kb",
        "scrape, ms": "scrape_ms",
        "a round of detection and mining, ms": "round_ms",
        "models shown": "models_shown",
        "incidents kept": "incidents_kept",
    }
    rows = [(str(one["month"]), [f"{one[key]:,}" for key in columns.values()]) for one in months]
    note = (
        "A simulated year on the embedded log and store, in one process and by a clock set by hand: four new models a "
        "month that live for thirty days, one that stays and drifts for half a year, one that falls silent, sixty "
        "names that come once, incidents that open and close, near-duplicates, drops, fields that cannot travel, and "
        "people who answer a third of what waits each day; `detect.models` is 60. What has a bound is flat after the "
        "third month ([models](incidents.md#models-come-and-go), [candidates](mining.md#what-does-not-grow)). Answers, "
        "the candidates they belong to and what became known about these are kept for good, with about a kilobyte of "
        "memory each.\n\n"
    )
    names = found["figures"]["names"]
    flood = (
        f"\n{names['names']:,} model names, one inference each, against the default bound of 1,000, and then one model "
        "with a reference:\n\n"
    )
    return head(found) + note + grid(columns, rows) + flood + table(list(flat(names, "")))


def installs(found: dict[str, Any]) -> str:
    def row(one: dict[str, Any]) -> list[str]:
        seconds = dict(one["seconds"])
        rest = sum(seconds.values()) - seconds["install"]
        return [
            str(one["packages"]),
            f"{one['megabytes']:,}",
            f"{seconds['install']:.0f}",
            f"{rest:.0f}",
            f"{one['minutes_to_incident']:.1f}",
            f"{one['minutes_to_feature']:.1f}",
        ]

    columns = ["packages", "MB", "install, s", "the rest, s", "to an incident, min", "to a feature, min"]
    names = {
        "base": "`pip install .` for the app, `pip install '.[server]'` for Davy, and an archive",
        "server": "`pip install '.[server]'`, README's lines to the letter",
        "cluster": "`pip install '.[cluster]'` for the app, `'.[server,cluster]'` for Davy: Kafka, Redis, S3",
        "server,cluster,librdkafka": "`pip install '.[server,cluster,librdkafka]'`: the same services",
        "demo": "`pip install '.[demo]'`, `davy demo --no-label-studio` until it has ended",
        "image": "the image's steps, every role a process, the same services",
    }
    rows = [(text, row(found["figures"][name])) for name, text in names.items()]
    note = (
        "From an empty environment: pip without a cache and without pins (the image: uv, with its pins and a cache), "
        "from the first line until `davy incidents` shows the first incident, and until that names the feature that "
        "changed. An app of its own sends 1,000 usual inferences, Davy learns what is normal and starts, and the app "
        "sends 1,000 with larger amounts. One after the other; packages come from a registry near by. Packages and MB "
        "are those of the environment in which Davy runs.\n\n"
    )
    return head(found) + note + grid(columns, rows)


def keys(found: dict[str, Any]) -> str:
    columns = {
        "captured": "captured",
        "stored": "stored",
        "dropped and counted": "dropped_and_counted",
        "refused for good": "refused_for_good",
        "stored twice": "stored_twice",
        "waited at most": "waited_at_most",
        "new key to no backlog, s": "seconds_from_the_new_key_to_no_backlog",
    }
    figures = found["figures"]
    rows = [(name, [f"{one[key]:,}" for key in columns.values()]) for name, one in figures.items()]
    note = (
        "A gateway, and an app that captures 200 inferences of 30 numbers a second for 30 seconds, its key in a file. "
        "After 8 seconds the key is changed (one that expires is good for 4 more), after 18 seconds the file; what the "
        "gateway refuses meanwhile waits in the app. A backlog is more than a second of traffic. An app started anew "
        "has the second half in another process.\n\n"
    )
    return head(found) + note + grid(columns, rows)


def space(found: dict[str, Any]) -> str:
    parts = []
    for limit, one in found["figures"].items():
        rows = [
            (str(day["day"]), [f"{day[key]:,}" for key in ("disk_gib", "foretold_gib", "kept_days")])
            for day in one["by_day"]
        ]
        rest = {name: value for name, value in one.items() if name != "by_day"}
        parts.append(
            f"`log.keep_bytes` of {limit}:\n\n"
            + grid(["disk, GiB", "foretold after the first day, GiB", "days kept"], rows)
            + "\n"
            + table(list(flat(rest, "")))
        )
    note = (
        "Ten simulated days at 200 inferences a second of 30 numbers and two tags, busier by day than by night, with "
        "`log.keep_hours` of a week. One envelope of twenty is appended, the limit is a twentieth, and sizes are times "
        "twenty; the 8 MiB of free room that a file keeps show as 0.16 GiB. What retention takes is for a twentieth "
        "of the traffic.\n\n"
    )
    return head(found) + note + "\n".join(parts)


def whole(found: dict[str, Any]) -> str:
    return head(found) + scale(found["figures"])


def serving(found: dict[str, Any]) -> str:
    return head(found) + app(found["figures"])


def nulls(found: dict[str, Any]) -> str:
    cases = found["figures"]
    titles = [f"{case}: alarms where {one['accepted each']:g} are accepted" for case, one in cases.items()]
    names = next(iter(cases.values()))["alarms"]
    rows = [(name, [str(one["alarms"][name]) for one in cases.values()]) for name in names]
    return head(found) + "A million clean inferences of each kind.\n\n" + grid(titles, rows)


SECTIONS = {
    "nulls": nulls,
    "demo": demo,
    "demo-scale": demo_scale,
    "sdk-peers": peers,
    "app": serving,
    "scale": whole,
    "faults": faults,
    "faults-embedded": faults_embedded,
    "soak": soak,
    "age": age,
    "archive": archive,
    "installs": installs,
    "keys": keys,
    "space": space,
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
