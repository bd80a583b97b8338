"""The conformance kit: what every detector, ours and a third party's, has to pass.

Call it in a test of your own::

    from davy_detectors.checks import check_scorer
    from my_package import MyScorer

    def test_my_scorer_keeps_the_contract():
        check_scorer(MyScorer)
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import accumulate
from typing import Any, Final

import numpy as np

from davy.codec import dump_any, load_any
from davy.config import DetectSettings
from davy.errors import DecodeError
from davy_detectors.base import Alarm, Monitor
from davy_detectors.batch import Batch, Floats
from davy_detectors.context import PluginContext, called
from davy_detectors.nulls import MODEL, NULLS, null, null_reference
from davy_detectors.plugins import MonitorFactory
from davy_detectors.reference.reference import Reference, upper_tail
from davy_detectors.scorer import Scorer
from davy_detectors.stream.monitor_run import merged
from davy_detectors.stream.partition_counter import aggregated

_DIMENSIONS: Final = 16
_CLASSES: Final = 3
_TOLERANCE: Final = 1e-9
_SETTINGS: Final = DetectSettings(false_alarm_every=5_000)
_STREAMS: Final = 20
_STEP: Final = 20
_TREES: Final = 5


class CheckFailed(AssertionError):
    """A detector broke a promise of its contract; the message says which."""


def sample(rng: np.random.Generator, size: int, *, odd: bool = False) -> Batch:
    """Draw inferences of a classifier with three classes: two inputs, probabilities, an embedding of 16 numbers.

    `odd` ones lie elsewhere in the embedding, have a shifted input and uncertain probabilities.

    Examples
    --------
    >>> sample(np.random.default_rng(0), 5).probs.shape
    (5, 3)
    """
    truth = rng.integers(0, _CLASSES, size)
    centres = np.random.default_rng(7).normal(size=(_CLASSES, _DIMENSIONS)) * 2.0
    sure = np.eye(_CLASSES)[truth] * (0.5 if odd else 4.0)
    columns = {
        "inputs.length": rng.normal(2.0 if odd else 0.0, 1.0, size),
        "inputs.place": rng.choice(np.array(["mine", "shaft", "face"], object), size, p=[0.6, 0.3, 0.1]),
        "outputs.logits": sure + rng.normal(size=(size, _CLASSES)),
        "embedding": (rng.normal(size=_DIMENSIONS) * 2.0 if odd else centres[truth])
        + rng.normal(size=(size, _DIMENSIONS)),
    }
    return Batch.from_columns(MODEL, columns)


def check_scorer(
    cls: type[Scorer],
    *,
    microseconds: float = 50.0,
    least_auroc: float = 0.6,
    flag_share: float = 0.05,
    draw: Callable[..., Batch] = sample,
    own: Any = None,
) -> None:
    """Check a scorer against its contract.

    Parameters
    ----------
    cls
        The scorer; it must be able to fit what `draw` draws.
    microseconds
        Time allowed for one inference in a batch of 1 024, on one core.
    least_auroc
        How well it has to tell odd inferences from clean ones: the probability that the odd one scores higher.
    flag_share
        Share of clean traffic whose rank may reach this share; checked within a binomial band of 1 in 10 000.
    draw
        Called as `sample` is, for a scorer that needs other outputs.
    own
        Its own settings; their defaults when None.

    Raises
    ------
    CheckFailed
        Says which promise is broken.
    """
    context = _context("scorer", cls, own)
    fitted = _fitted(cls, draw(np.random.default_rng(1), 2_000), context)
    clean, odd = draw(np.random.default_rng(2), 2_000), draw(np.random.default_rng(3), 2_000, odd=True)
    _check_inputs_unharmed(fitted.score, clean)
    scores = fitted.score(clean)
    _require(scores.shape == (len(clean),), "gives one score an inference")
    _require(bool(np.isfinite(scores).all()), "scores every complete inference")
    again = _fitted(cls, draw(np.random.default_rng(1), 2_000), context).score(clean)
    _require(np.array_equal(scores, again), "gives the same scores for the same fit")
    _check_scorer_splits(fitted, clean)
    loaded = called(cls.load, load_any(dump_any(fitted.dump())), context=context)
    _require(np.array_equal(scores, loaded.score(clean)), "scores alike after dump and load")
    _check_odd_columns(fitted)
    larger = _fitted(cls, draw(np.random.default_rng(1), 8_000), context)
    sizes = [len(dump_any(scorer.dump())) for scorer in (fitted, larger)]
    _require(
        sizes[1] <= 2 * sizes[0], f"keeps a state of bounded size, not {sizes[0]} and then {sizes[1]} bytes"
    )
    _check_ranks(fitted, np.sort(scores), flag_share)
    auroc = float(upper_tail(np.sort(-scores), -fitted.score(odd)).mean())
    _require(auroc >= least_auroc, f"tells odd from clean: AUROC {auroc:.3f} of {least_auroc}")
    spent = _microseconds(lambda: fitted.score(clean.take(slice(0, 1024))), 1024)
    _require(spent <= microseconds, f"takes at most {microseconds} µs an inference, not {spent:.1f}")


def watch(monitor: Monitor, batch: Batch, sizes: Sequence[int]) -> list[Alarm]:
    """Run a monitor over inferences in windows of these sizes, the last one repeated; return the alarms.

    Examples
    --------
    >>> from davy_detectors.drift import ScoreDictionaryDetector
    >>> reference = Reference.fit(MODEL, sample(np.random.default_rng(0), 2_000), settings=DetectSettings())
    >>> detector = ScoreDictionaryDetector(reference, DetectSettings())
    >>> len(watch(detector, sample(np.random.default_rng(1), 200, odd=True), [50])) > 0
    True
    """
    ends = list(accumulate(sizes))
    while ends[-1] < len(batch):
        ends.append(ends[-1] + sizes[-1])
    steps = np.searchsorted(ends, np.arange(len(batch)), side="right")
    found = np.bincount(steps)
    return _test(
        monitor, aggregated(monitor, monitor.reference.scored(batch), steps, len(found)), found.tolist()
    )


def _test(monitor: Monitor, aggregates: Sequence[bytes], sizes: Sequence[int]) -> list[Alarm]:
    return monitor.test([monitor.aggregate_type.from_bytes(data) for data in aggregates], sizes)


def check_monitor(
    cls: MonitorFactory, *, microseconds: float = 50.0, delay: int = 1_000, own: Any = None
) -> None:
    """Check a monitor against its contract.

    Parameters
    ----------
    cls
        The monitor's class.
    microseconds
        Time allowed for counting and testing one inference, 1 024 of them in steps of 20, on one core.
    delay
        Inferences within which it has to see that all traffic has become odd.
    own
        Its own settings; their defaults when None.

    Raises
    ------
    CheckFailed
        Says which promise is broken.
    """
    context = _context("monitor", cls, own)

    def make(reference: Reference, settings: DetectSettings) -> Monitor:
        monitor: Monitor = called(cls, reference, settings, context=context)
        return monitor

    reference = _reference(seed=1)
    clean = sample(np.random.default_rng(2), 1_000)
    changed = Batch.concat([clean, sample(np.random.default_rng(3), 1_000, odd=True)])
    whole = _told(make(reference, _SETTINGS), changed)
    _require(len(whole.alarms) > 0, "raises an alarm on odd traffic")
    _same(whole, _told(make(reference, _SETTINGS), changed), "gives the same alarms for the same data")
    _check_aggregates(make(reference, _SETTINGS), changed)
    _check_calls(make(reference, _SETTINGS), changed, whole)
    _check_resume(make, reference, changed, whole)
    monitor = make(reference, _SETTINGS)
    _check_inputs_unharmed(lambda batch: watch(monitor, batch, [_STEP]), clean)
    speaks = monitor.sample_scores(reference.scored(changed), whole.alarms[0])
    _require(speaks.shape == (len(changed),), "gives one sample score an inference")
    _require(speaks[1_000:].mean() > speaks[:1_000].mean(), "finds the samples that speak for the alarm")
    _check_odd_traffic(make, reference)
    _check_state_size(make, reference)
    _check_false_alarms(make)
    _check_nulls(make)
    _check_power(make, delay)
    spent = _microseconds(lambda: watch(monitor, changed.take(slice(0, 1024)), [_STEP]), 1024)
    _require(spent <= microseconds, f"takes at most {microseconds} µs an inference, not {spent:.1f}")


class _Told:
    """What a monitor said about a stream."""

    def __init__(self, monitor: Monitor, alarms: list[Alarm]) -> None:
        self.alarms = alarms
        self.reading = monitor.reading()
        self.state = monitor.to_bytes()


def _told(monitor: Monitor, batch: Batch) -> _Told:
    return _Told(monitor, watch(monitor, batch, [_STEP]))


def _same(one: _Told, other: _Told, promise: str) -> None:
    for name in ("event", "onset_event", "cause"):
        found = [[getattr(alarm, name) for alarm in told.alarms] for told in (one, other)]
        _require(found[0] == found[1], f"{promise}: {name}s {found[0]} and {found[1]}")
    here, there = [
        [*(a.statistic for a in told.alarms), told.reading.ratio, *told.reading.features.values()]
        for told in (one, other)
    ]
    _require(bool(np.allclose(here, there, rtol=_TOLERANCE, atol=0)), f"{promise}: its statistics differ")


def _check_aggregates(monitor: Monitor, batch: Batch) -> None:
    """Aggregate parts of a batch, in any order, and merge their bytes in random trees, as partitions and stores do."""
    rng, state = np.random.default_rng(8), monitor.to_bytes()
    steps = np.arange(len(batch)) // _STEP
    total = int(steps[-1]) + 1
    whole = aggregated(monitor, monitor.reference.scored(batch), steps, total)
    for _ in range(_TREES):
        parts = np.array_split(rng.permutation(len(batch)), int(rng.integers(2, 9)))
        forest = [
            aggregated(monitor, monitor.reference.scored(batch.take(part)), steps[part], total)
            for part in parts
        ]
        while len(forest) > 1:
            one, other = (forest.pop(int(rng.integers(len(forest)))) for _ in range(2))
            forest.append([merged(monitor, *pair) for pair in zip(one, other, strict=True)])
        _require(
            forest[0] == whole,
            "gives aggregates that merge to the same bytes, whatever the order and the partitions",
        )
    _require(monitor.to_bytes() == state, "keeps its state while it aggregates")


def _check_calls(monitor: Monitor, batch: Batch, whole: _Told) -> None:
    """One call with many windows is many calls with one."""
    alarms = []
    for part in _parts(batch, _STEP):
        scored = monitor.reference.scored(part)
        alarms += _test(monitor, aggregated(monitor, scored, np.zeros(len(part), np.int64), 1), [len(part)])
    _same(whole, _Told(monitor, alarms), "takes one window at a time as well")


def _check_resume(make: MonitorFactory, reference: Reference, changed: Batch, whole: _Told) -> None:
    first, second = make(reference, _SETTINGS), make(reference, _SETTINGS)
    middle = 51 * _STEP
    early = watch(first, changed.take(slice(0, middle)), [_STEP])
    second.restore(first.to_bytes())
    _require(first.to_bytes() == second.to_bytes(), "gives its state back unchanged")
    late = watch(second, changed.take(slice(middle, len(changed))), [_STEP])
    _same(whole, _Told(second, [*early, *late]), "goes on from its state as if never stopped")
    for foreign, what in ((_reference(seed=9), "another reference"), (None, "damage")):
        data = first.to_bytes() if foreign else first.to_bytes()[:-3]
        try:
            make(foreign or reference, _SETTINGS).restore(data)
        except DecodeError:
            continue
        raise CheckFailed(f"refuses a state of {what} with DecodeError")


def _check_odd_traffic(make: MonitorFactory, reference: Reference) -> None:
    monitor = make(reference, _SETTINGS)
    for batch in _odd_batches(sample(np.random.default_rng(4), 200)):
        alarms, shown = watch(monitor, batch, [_STEP]), monitor.reading()
        numbers = [shown.ratio, *shown.features.values(), *(alarm.statistic for alarm in alarms)]
        _require(bool(np.isfinite(numbers).all()), "keeps finite readings and alarms through odd columns")
    nothing = watch(make(reference, _SETTINGS), sample(np.random.default_rng(5), 0), [_STEP])
    _require(nothing == [], "takes an empty batch")


def _check_state_size(make: MonitorFactory, reference: Reference) -> None:
    monitor, sizes = make(reference, _SETTINGS), []
    for seed in range(10):
        watch(monitor, sample(np.random.default_rng(seed), 1_000), [_STEP])
        sizes.append(len(monitor.to_bytes()))
    _require(
        max(sizes) <= sizes[0] + 256,
        f"keeps a state of bounded size, not {sizes[0]} and then {max(sizes)} bytes",
    )


def _check_false_alarms(make: MonitorFactory) -> None:
    """Compare with a Poisson band: 20 streams, each as long as the accepted time between false alarms.

    Steps are of all sizes from 1 to 200 inferences.
    """
    length, alarms = int(_SETTINGS.false_alarm_every), 0
    for seed in range(_STREAMS):
        rng = np.random.default_rng(200 + seed)
        clean, sizes = sample(rng, length), rng.integers(1, 200, length // 50).tolist()
        alarms += len(watch(make(_reference(seed=100 + seed), _SETTINGS), clean, sizes))
    most = _STREAMS + 4 * _STREAMS**0.5
    _require(
        alarms <= most, f"keeps false alarms to the accepted number: {alarms} where {_STREAMS} are accepted"
    )


def _check_nulls(make: MonitorFactory) -> None:
    """Compare each kind of clean stream with a Poisson band: two small references, where sampling error is largest."""
    length = 2 * int(_SETTINGS.false_alarm_every)
    most = 4 + 4 * 4**0.5
    for name in NULLS:
        alarms = 0
        for seed in range(2):
            rng = np.random.default_rng(500 + seed)
            reference = null_reference(name, rng, 1_000, _SETTINGS)
            alarms += len(watch(make(reference, _SETTINGS), null(name, rng, length), [_STEP]))
        _require(
            alarms <= most,
            f"keeps false alarms to the accepted number on clean {name}: {alarms} where 4 are accepted",
        )


def _check_power(make: MonitorFactory, delay: int) -> None:
    for seed in range(5):
        monitor = make(_reference(seed=seed), replace(_SETTINGS, false_alarm_every=1e6))
        watch(monitor, sample(np.random.default_rng(300 + seed), 1_000), [_STEP])
        alarms = watch(monitor, sample(np.random.default_rng(400 + seed), delay, odd=True), [_STEP])
        _require(len(alarms) > 0, f"sees that traffic has become odd within {delay} inferences")


def _check_scorer_splits(fitted: Scorer, batch: Batch) -> None:
    whole = fitted.score(batch.take(slice(0, 200)))
    single = np.concatenate([fitted.score(part) for part in _parts(batch.take(slice(0, 200)), 1)])
    _require(
        bool(np.allclose(whole, single, rtol=_TOLERANCE)), "scores one inference at a time as in a batch"
    )


def _check_inputs_unharmed(use: Callable[[Batch], object], batch: Batch) -> None:
    before = {path: column.values.copy() for path, column in batch.fields.items()}
    use(batch)
    kept = all(np.array_equal(column.values, before[path]) for path, column in batch.fields.items())
    _require(kept, "leaves its input as it was")


def _check_odd_columns(fitted: Scorer) -> None:
    for batch in _odd_batches(sample(np.random.default_rng(4), 200)):
        scores = fitted.score(batch)
        _require(scores.shape == (len(batch),), "gives one score an inference, whatever the columns hold")
        _require(not np.isinf(scores).any(), "gives NaN, not infinity, where it cannot score")
    _require(fitted.score(sample(np.random.default_rng(4), 0)).shape == (0,), "takes an empty batch")


def _check_ranks(fitted: Scorer, ordered: Floats, share: float) -> None:
    fresh = fitted.score(sample(np.random.default_rng(6), 4_000))
    found = float((upper_tail(ordered, fresh) <= share).mean())
    most = share + 4.0 * (share * (1 - share) * (1 / len(fresh) + 1 / len(ordered))) ** 0.5
    _require(found <= most, f"flags {share:.1%} of clean traffic, not {found:.1%}")


def _odd_batches(batch: Batch) -> Iterator[Batch]:
    """Return the batch with each numeric column spoiled: not a number, infinite, huge, constant, and left out."""
    columns = {".".join(path): column.values for path, column in batch.fields.items()}
    for name, values in columns.items():
        if values.dtype.kind == "f":
            for spoiled in (np.nan, np.inf, -np.inf, 1e300, 0.0):
                yield Batch.from_columns(MODEL, {**columns, name: np.full_like(values, spoiled)})
        others = {key: kept for key, kept in columns.items() if key != name}
        yield Batch.from_columns(MODEL, others)


def _reference(*, seed: int) -> Reference:
    return Reference.fit(MODEL, sample(np.random.default_rng(seed), 2_000), settings=_SETTINGS, seed=seed)


def _context(kind: str, cls: object, own: Any) -> PluginContext:
    wanted = getattr(cls, "settings_type", None)
    settings = wanted() if own is None and wanted is not None else own
    return PluginContext(kind, str(getattr(cls, "name", "")), MODEL, settings)


def _fitted(cls: type[Scorer], batch: Batch, context: PluginContext) -> Scorer:
    fitted: Scorer | None = called(cls.fit, batch, context=context)
    if fitted is None:
        raise CheckFailed("fits what `sample` draws: probabilities, an embedding and inputs")
    return fitted


def _parts(batch: Batch, size: int) -> Iterator[Batch]:
    return (batch.take(slice(start, start + size)) for start in range(0, len(batch), size))


def _microseconds(run: Callable[[], object], events: int) -> float:
    spent = []
    for _ in range(5):
        begun = time.perf_counter()
        run()
        spent.append(time.perf_counter() - begun)
    return float(np.median(spent)) / events * 1e6


def _require(kept: bool, promise: str) -> None:
    if not kept:
        raise CheckFailed(promise)
