"""The choice: no near-duplicates, no label too many, probabilities that can be trusted."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.mining import make_candidate, make_flag

from davy.codec import decode
from davy_miner.candidates import Candidate
from davy_miner.choice import GREEDY, RANDOM, choose
from davy_miner.dedup import Calibration, calibrate, leaders
from davy_miner.problems import Problem
from davy_miner.select import error_rate, evidence, fisher
from davy_miner.vectors import payload_key, vectors

pytestmark = pytest.mark.fast


def bursts(
    seed: int, sources: int, longest: int, noise: float = 0.05, control: float = 0.02
) -> list[Candidate]:
    """Candidates in bursts of near-identical embeddings; some in the control arm, some flagged by a score."""
    rng = np.random.default_rng(seed)
    made, number = [], seed * 100_000
    for centre in rng.normal(size=(sources, 16)):
        for _ in range(int(rng.integers(1, longest + 1))):
            number += 1
            flag = make_flag(
                number,
                embedding=centre + noise * rng.normal(size=16),
                control=control if rng.random() < 0.5 else 0.0,
                scores={"msp": float(rng.uniform(0.001, 1))},
            )
            made.append(make_candidate(flag))
    return sorted(made, key=lambda candidate: candidate.id)


def unit_rows(candidates: list[Candidate]) -> np.ndarray:
    return vectors([decode(candidate.inference) for candidate in candidates])


@settings(max_examples=25)
@given(
    seed=st.integers(0, 50),
    budget=st.integers(0, 60),
    share=st.floats(0, 1),
    threshold=st.sampled_from([0.0, 0.8, 0.9, 0.99]),
    answered=st.integers(0, 10),
)
def test_no_two_chosen_or_known_are_near_duplicates_and_no_budget_is_exceeded(
    seed: int, budget: int, share: float, threshold: float, answered: int
) -> None:
    pool = bursts(seed, sources=12, longest=8)
    known, waiting = pool[:answered], pool[answered:]
    choice = choose(waiting, known, budget=budget, greedy_share=share, similarity=threshold, seed=seed)
    labels = {*choice.labels(GREEDY), *choice.labels(RANDOM)}
    assert len(labels) <= budget
    rows = unit_rows(pool)
    is_known = np.array([candidate in known for candidate in pool])
    is_chosen = np.array([candidate.id in labels for candidate in pool])
    similar = rows @ rows.T
    np.fill_diagonal(similar, -1)
    assert not (similar[np.ix_(is_chosen, is_chosen | is_known)] >= choice.threshold + 1e-6).any()


@settings(max_examples=25)
@given(seed=st.integers(0, 50), budget=st.integers(1, 40))
def test_every_duplicate_names_a_representative_that_is_chosen_or_known(seed: int, budget: int) -> None:
    pool = bursts(seed, sources=10, longest=8)
    known, waiting = pool[:5], pool[5:]
    choice = choose(waiting, known, budget=budget, greedy_share=0.5, similarity=0.9, seed=seed)
    labels = {*choice.labels(GREEDY), *choice.labels(RANDOM), *(candidate.id for candidate in known)}
    rows = dict(zip((c.id for c in known + waiting), unit_rows(known + waiting), strict=True))
    for key, one in choice.chosen.items():
        if one.duplicate_of is not None:
            assert one.duplicate_of in labels
            assert rows[key] @ rows[one.duplicate_of] >= 0.9 - 1e-6


def test_equal_payloads_are_duplicates_whatever_their_vectors_say() -> None:
    image = np.arange(64.0).reshape(8, 8)
    flags = [make_flag(number, inputs={"image": image}, scores={"msp": 0.01}) for number in range(4)]
    choice = choose([make_candidate(flag) for flag in flags], [], budget=4, greedy_share=1.0, similarity=0.99)
    assert len(choice.labels(GREEDY)) == 1
    assert sorted(one.kind for one in choice.chosen.values()) == ["", "exact", "exact", "exact"]


def test_the_budget_the_random_arm_cannot_use_goes_to_the_greedy_arm() -> None:
    flags = [make_flag(n, scores={"msp": 0.01}, control=0.02 if n < 3 else 0.0) for n in range(40)]
    choice = choose([make_candidate(flag) for flag in flags], [], budget=20, greedy_share=0.5)
    assert (len(choice.labels(RANDOM)), len(choice.labels(GREEDY))) == (3, 17)


def test_the_greedy_arm_takes_the_most_suspicious_first() -> None:
    flags = [make_flag(n, scores={"msp": (n + 1) / 100, "mahalanobis": (n + 1) / 100}) for n in range(50)]
    pool = sorted(map(make_candidate, flags), key=lambda candidate: candidate.id)
    choice = choose(pool, [], budget=5, greedy_share=1.0)
    best = {make_candidate(flag).id for flag in flags[:5]}
    assert set(choice.labels(GREEDY)) == best


def test_no_score_dominates_by_its_scale() -> None:
    tiny = [make_candidate(make_flag(n, scores={"a": 1e-9 * (n + 1), "b": 0.9})) for n in range(20)]
    both = make_candidate(make_flag(99, scores={"a": 5e-9, "b": 0.01}))
    assert int(np.argmax(fisher([*tiny, both]))) == 20


def test_carriers_of_an_incident_come_before_others_with_the_same_scores() -> None:
    plain = [make_candidate(make_flag(n, scores={"msp": 0.02})) for n in range(20)]
    carrier = make_candidate(make_flag(50, scores={"msp": 0.02}, incident="i1"))
    assert int(np.argmax(fisher([*plain, carrier]))) == 20
    assert evidence(carrier.scores, carrier.draws) > evidence(plain[0].scores, plain[0].draws)


def test_the_same_candidates_and_seed_give_the_same_choice() -> None:
    pool = bursts(3, sources=20, longest=5)
    one, other = (choose(pool, [], budget=12, greedy_share=0.5, seed=9) for _ in range(2))
    assert one == other
    assert choose(pool, [], budget=12, greedy_share=0.5, seed=10) != one


def test_the_threshold_separates_bursts_from_distinct_samples_on_a_bursty_control_arm() -> None:
    rng = np.random.default_rng(4)
    centres = rng.normal(size=(300, 24))
    lengths = np.where(np.arange(300) < 100, 2, 1)  # half of all samples have a twin
    rows = np.repeat(centres, lengths, axis=0)
    rows += 0.02 * rng.normal(size=rows.shape)
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    source = np.repeat(np.arange(300), lengths)
    found = calibrate(rows)
    assert found is not None
    threshold = found.threshold
    alike = (rows @ rows.T >= threshold)[np.triu_indices(len(rows), 1)]
    same = np.equal.outer(source, source)[np.triu_indices(len(rows), 1)]
    assert 0.8 <= threshold <= 0.999
    assert alike[same].mean() > 0.99
    assert alike[~same].mean() < 0.001


def test_few_control_samples_leave_the_threshold_as_it_was_calibrated_last() -> None:
    few, many = np.eye(60, dtype=np.float32)[:49], np.eye(60, dtype=np.float32)[:50]
    last = Calibration(0.97, 100)
    assert calibrate(few, last) == last
    assert calibrate(many, last) == Calibration(0.8, 50)


def test_without_any_calibration_only_what_is_all_but_equal_is_a_duplicate() -> None:
    assert calibrate(np.eye(5, dtype=np.float32)) is None
    pool = bursts(2, sources=3, longest=2, control=0.0)
    assert choose(pool, [], budget=2, greedy_share=1.0).threshold == 0.999


@settings(max_examples=25)
@given(seed=st.integers(0, 50), budget=st.integers(0, 40), share=st.floats(0, 1), odd=st.integers(0, 10))
def test_what_cannot_be_asked_costs_no_label_and_the_next_of_its_arm_is_taken(
    seed: int, budget: int, share: float, odd: int
) -> None:
    pool = bursts(seed, sources=30, longest=3)
    asked: list[str] = []

    def ask(candidate: Candidate) -> Problem | None:
        asked.append(candidate.id)
        return Problem("no", "error") if int(candidate.id, 16) % 10 < odd else None

    choice = choose(pool, [], budget=budget, greedy_share=share, similarity=0.9, seed=seed, ask=ask)
    refused = {key for key, one in choice.chosen.items() if one.problem}
    labels = {*choice.labels(GREEDY), *choice.labels(RANDOM)}
    assert sorted(asked) == sorted(refused | labels), "each is looked at once, and only for a label"
    assert not any(int(key, 16) % 10 < odd for key in labels)
    left = [one for one in pool if one.id not in choice.chosen]
    assert len(labels) == budget or not left


def test_a_random_draw_that_cannot_be_asked_leaves_the_estimate_of_the_others_unbiased() -> None:
    totals = []
    for seed in range(300):
        flags = [make_flag(n, control=0.5) for n in range(60)]
        pool = sorted(map(make_candidate, flags), key=lambda one: one.id)
        odd = {one.id for one in pool if int.from_bytes(one.inference_id) % 3 == 0}
        choice = choose(
            pool,
            [],
            budget=10,
            greedy_share=0.0,
            similarity=0.99,
            seed=seed,
            ask=lambda one, odd=odd: Problem("no", "error") if one.id in odd else None,
        )
        totals.append(sum(1 / choice.chosen[key].probability for key in choice.labels(RANDOM)))
    # 40 of 60 can be asked, each held with probability 1/2: they stand for 80. Stopping at the tenth label lets it
    # stand for a little more, 10 / 9 at the very most.
    assert 80 * 0.98 < np.mean(totals) < 80 * 10 / 9


def test_labels_given_back_come_on_top_of_the_budget_of_their_arm() -> None:
    flags = [make_flag(n, scores={"msp": 0.01}, control=0.5 if n < 30 else 0.0) for n in range(60)]
    pool = sorted(map(make_candidate, flags), key=lambda one: one.id)
    back = {RANDOM: 3, GREEDY: 2}
    choice = choose(pool, [], budget=10, greedy_share=0.5, similarity=0.99, returned=back)
    assert (len(choice.labels(RANDOM)), len(choice.labels(GREEDY))) == (8, 7)


def test_leaders_put_every_row_into_one_group() -> None:
    rows = unit_rows(bursts(5, sources=15, longest=6))
    order = np.random.default_rng(0).permutation(len(rows))
    groups = list(leaders(order, rows, [bytes([i]) for i in range(len(rows))], 0.9))
    members = np.concatenate([[group.leader, *group.members] for group in groups])
    assert sorted(members.tolist()) == list(range(len(rows)))


def test_rows_of_numbers_are_compared_by_distance_not_direction() -> None:
    numbers = [1.0, 1.0001, 100.0, 50.0, 3.0]
    flags = [make_flag(n, inputs={"x": x}, embedding=()) for n, x in enumerate(numbers)]
    envelopes = [decode(flag.inference) for flag in flags]
    rows = vectors(envelopes)
    assert rows[0] @ rows[1] > 0.999
    assert rows[0] @ rows[2] < 0.8
    assert payload_key(envelopes[0]) != payload_key(envelopes[1])


def rows_saying(*texts: str, **numbers: float) -> np.ndarray:
    flags = [make_flag(n, inputs={"text": text, **numbers}, embedding=()) for n, text in enumerate(texts)]
    return vectors([decode(flag.inference) for flag in flags])


def test_rows_with_the_same_numbers_and_other_texts_are_no_duplicates() -> None:
    asked = [f"Where is parcel {number}?" for number in range(20)]
    rows = rows_saying(*asked, asked[0], messages=1.0)
    alike = rows @ rows.T
    assert alike[0, 20] == pytest.approx(1.0)
    np.fill_diagonal(alike, 0.0)
    assert alike[:20, :20].max() < 0.8
    kinds = rows_saying("red", "red", "blue", "blue", messages=1.0)
    assert kinds[0] @ kinds[1] == pytest.approx(1.0)
    assert kinds[0] @ kinds[2] < 0.8


def test_a_name_that_every_row_has_of_its_own_keeps_no_two_apart() -> None:
    rows = rows_saying("a-17", "b-23", "c-99", messages=1.0)
    assert rows[0] @ rows[1] == pytest.approx(1.0)


def test_inferences_without_anything_in_common_resemble_nothing() -> None:
    short, long = make_flag(1, embedding=[1.0, 0.0]), make_flag(2, embedding=[1.0, 0.0, 0.0])
    rows = vectors([decode(short.inference), decode(long.inference)])
    assert rows[0] @ rows[1] == 0.0
    assert rows[0] @ rows[0] == pytest.approx(1.0)


RUNS = 400
TRUE_RATE = 0.15


def _simulated(seed: int) -> tuple[float, float, float, float]:
    """Draw a control arm from bursty traffic, choose, label, estimate; return truth, rate and interval."""
    rng = np.random.default_rng([11, seed])
    sources = 900
    lengths = np.minimum(1 + (rng.pareto(1.5, sources) * 2).astype(int), 12)
    source = np.repeat(np.arange(sources), lengths)
    wrong_source = rng.random(sources) < TRUE_RATE
    control = rng.random(len(source)) < 0.1
    rows = rng.normal(size=(sources, 12))[source] + 0.01 * rng.normal(size=(len(source), 12))
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    held = np.flatnonzero(control)
    # a third of the failing sources were labelled before, by the greedy arm: their near-duplicates cost nothing
    known_sources = np.flatnonzero(wrong_source & (rng.random(sources) < 1 / 3))
    known = np.where(np.isin(source[held], known_sources), source[held], -1)
    from davy_miner.select import draw

    drawn = draw(
        np.full(len(held), 0.1),
        known,
        rows[held],
        [bytes(str(row), "ascii") for row in held],
        threshold=0.98,
        labels=60,
        rng=rng,
    )
    labels = {group.leader for group in drawn.groups}
    assert len(labels) == 60
    chosen = np.flatnonzero(drawn.probability)
    found = error_rate(
        wrong_source[source[held[chosen]]], drawn.probability[chosen], [str(s) for s in source[held[chosen]]]
    )
    assert found is not None
    return wrong_source[source].mean(), found.rate, found.low, found.high


def test_the_error_rate_of_the_random_arm_is_unbiased_and_its_interval_covers() -> None:
    """Declared tolerance: three binomial standard errors below 95 %, and three standard errors of the mean for bias."""
    results = np.array([_simulated(seed) for seed in range(RUNS)])
    truth, rate, low, high = results.T
    coverage = np.mean((low <= truth) & (truth <= high))
    errors = rate - truth
    assert coverage >= 0.95 - 3 * np.sqrt(0.95 * 0.05 / RUNS), coverage
    assert abs(errors.mean()) <= 3 * errors.std() / np.sqrt(RUNS), errors.mean()


def test_inclusion_probabilities_are_what_happens_over_many_seeds() -> None:
    pool = bursts(8, sources=25, longest=4, control=1.0)
    runs = 1500
    times, stated = np.zeros(len(pool)), np.zeros(len(pool))
    from davy_miner.select import draw

    rows = unit_rows(pool)
    keys = [candidate.id.encode() for candidate in pool]
    control = np.array([1.0 if candidate.draws[-1].kind == "control" else 0.0 for candidate in pool])
    for seed in range(runs):
        drawn = draw(control, np.full(len(pool), -1), rows, keys, threshold=0.9, labels=8,
                     rng=np.random.default_rng(seed))  # fmt: skip
        taken = drawn.probability > 0
        times += taken
        stated += np.where(taken, 1 / np.where(taken, drawn.probability, 1), 0)
    held = control > 0
    # the Horvitz-Thompson weight of every unit averages to one
    assert stated[~held].sum() == 0
    assert np.abs(stated[held] / runs - 1).max() < 4 * np.sqrt(2.5 / runs)
    assert times[held].min() > 0


def test_without_failures_the_interval_still_says_how_little_is_known() -> None:
    found = error_rate(np.zeros(30, bool), np.full(30, 0.01), [str(i) for i in range(30)])
    assert found is not None
    assert (found.rate, found.low) == (0.0, 0.0)
    assert 0.05 < found.high < 0.2
