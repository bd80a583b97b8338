"""Several people about one candidate: nobody's answer is lost, a skip outvotes nothing, the rule decides."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.mining import (
    MODEL,
    in_state,
    make_candidate,
    make_flag,
    make_label,
    make_runtime,
    run,
    send,
    stored,
)

from davy.codec import dump, load
from davy.config import load as load_settings
from davy.errors import LabelError, SettingError
from davy.event import LABELS, Label
from davy.log import Message
from davy.outputs import read
from davy.runtime import Runtime
from davy.store import Batch
from davy_miner import dataset
from davy_miner.agreement import agreement
from davy_miner.candidates import Candidate
from davy_miner.decision import RULES, Decision, decide
from davy_miner.imports import import_labels
from davy_miner.labels import Revisions, quality, revisions_of, verdict

pytestmark = pytest.mark.fast

CANDIDATE = make_candidate(make_flag(3))
OWN = read({"label": 3, "probs": [0.1] * 10})


def says(annotator: str, answer: Any, revision: int, **more: Any) -> Label:
    """One person's answer; None is a skip."""
    more = {"state": "skipped" if answer is None else "labelled", **more}
    return make_label(CANDIDATE, answer, revision, annotator=annotator, **more)


def decided(*labels: Label, rule: str = "majority") -> Decision:
    found = decide(labels, rule, OWN)
    assert found is not None
    return found


def outcome(*labels: Label, rule: str = "majority") -> tuple[str, Any]:
    found = decided(*labels, rule=rule)
    return found.state, found.label.answer if found.label else None


@pytest.mark.parametrize("rule", RULES)
def test_a_skip_never_outvotes_an_answer(rule: str) -> None:
    said = [says("ann", "3", 1), says("bob", None, 2), says("cyd", None, 3)]
    for order in permutations(said):
        assert outcome(*order, rule=rule) == ("labelled", "3")
    assert outcome(*said[1:], rule=rule) == ("skipped", None)


def test_two_that_differ_are_disputed_and_both_are_kept() -> None:
    found = decided(says("ann", "3", 1), says("bob", "5", 2))
    assert (found.state, found.label) == ("disputed", None)
    assert [(one.annotator, one.answer) for one in found.opinions] == [("ann", "3"), ("bob", "5")]
    assert verdict(found, OWN) == "disputed"


@pytest.mark.parametrize(
    ("answers", "majority", "newest", "unanimous"),
    [
        (["3"], "3", "3", "3"),
        (["3", 3.0], 3.0, 3.0, 3.0),
        (["3", "5"], None, "5", None),
        (["3", "3", "5"], "3", "5", None),
        (["5", "3", "3"], "3", "3", None),
        (["3", "5", "7"], None, "7", None),
        (["3", "3", "5", "5"], None, "5", None),
        (["3", "3", "5", "7"], None, "7", None),
    ],
)
def test_the_last_word_is_a_rule(answers: list[Any], majority: Any, newest: Any, unanimous: Any) -> None:
    labels = [says(f"p{number}", answer, number) for number, answer in enumerate(answers)]
    for rule, expected in (("majority", majority), ("newest", newest), ("unanimous", unanimous)):
        state = "disputed" if expected is None else "labelled"
        assert outcome(*labels, rule=rule) == (state, expected)


def test_editing_ones_own_answer_replaces_it_and_nobody_elses() -> None:
    first = says("ann", "3", 1, annotation="10")
    other = says("bob", "5", 2, annotation="11")
    edited = says("ann", "5", 3, annotation="10")
    assert outcome(first, other) == ("disputed", None)
    assert outcome(first, other, edited) == ("labelled", "5")
    again = says("ann", "7", 4, annotation="12")  # a second annotation by the same person
    assert outcome(first, again) == ("labelled", "7")
    assert outcome(first, says("ann", None, 4, annotation="12")) == ("labelled", "3")
    assert outcome(first, says("ann", None, 4, annotation="10")) == ("skipped", None)


def test_a_deleted_annotation_withdraws_only_itself() -> None:
    first = says("ann", "3", 1, annotation="10")
    other = says("bob", "5", 2, annotation="11")
    gone = make_label(CANDIDATE, None, 3, annotation="11", state="deleted")
    assert outcome(first, other, gone) == ("labelled", "3")
    assert outcome(other, gone) == ("deleted", None)
    assert outcome(first, gone) == ("labelled", "3")
    task_gone = make_label(CANDIDATE, None, 4, state="deleted")
    assert outcome(first, other, task_gone) == ("deleted", None)
    assert outcome(first, task_gone, says("ann", "3", 5)) == ("labelled", "3")


def test_a_stated_verdict_needs_no_answer_and_is_never_worked_out_anew() -> None:
    wrong = says("ann", None, 1, state="labelled", verdict="wrong")
    assert decided(wrong).state == "labelled"
    assert verdict(decided(wrong), OWN) == "failure"
    assert decided(wrong, says("bob", "5", 2)).state == "labelled"  # another than the model's: wrong, too
    assert decided(wrong, says("bob", "3", 2)).state == "disputed"
    assert verdict(decided(says("ann", "5", 1, verdict="correct")), OWN) == "correct"
    assert verdict(decided(says("ann", "3", 1, verdict="wrong")), OWN) == "failure"
    assert decided(says("ann", None, 1, verdict="unclear")).state == "skipped"


PEOPLE = st.lists(
    st.tuples(st.sampled_from("ab"), st.sampled_from(["3", "5", None]), st.sampled_from(["", "1", "2"])),
    min_size=1,
    max_size=6,
)


@given(PEOPLE, st.sampled_from(RULES), st.randoms())
def test_what_is_decided_depends_neither_on_order_nor_on_repetition(
    said: list[tuple[str, str | None, str]], rule: str, random: Any
) -> None:
    labels = [
        says(person, answer, number, annotation=annotation and f"{person}{annotation}")
        for number, (person, answer, annotation) in enumerate(said)
    ]
    expected = decide(labels, rule, OWN)
    shuffled = [*labels, *labels[:2]]
    random.shuffle(shuffled)
    revisions = Revisions()
    for label in shuffled:
        revisions = Revisions.from_bytes(revisions.with_label(label).to_bytes())
    assert revisions.decided(rule, OWN) == expected
    assert expected is not None
    assert (expected.label is not None) == (expected.state == "labelled")


def answered(runtime: Runtime) -> None:
    """Three of the random arm: one agreed right, one agreed wrong, one disputed."""
    send(runtime, *(make_flag(n, control=0.5) for n in range(3)))
    run(runtime)
    batch = Batch()
    for key, candidate in stored(runtime).items():
        changed = make_candidate(make_flag(int.from_bytes(candidate.inference_id, "big"), control=0.5))
        batch.put("candidates", key, dump(_chosen(changed)))
    runtime.store.apply(batch)
    said = {0: [("ann", "0"), ("bob", "0")], 1: [("ann", "7"), ("bob", "7")], 2: [("ann", "2"), ("bob", "9")]}
    for number, answers in said.items():
        candidate = make_candidate(make_flag(number))
        send(runtime, *(make_label(candidate, a, r, annotator=who) for r, (who, a) in enumerate(answers)))
    run(runtime)


def _chosen(candidate: Candidate) -> Candidate:
    return replace(candidate, state="selected", arm="random", probability=0.5)


def test_what_is_disputed_is_a_state_counts_as_neither_and_enters_no_dataset(tmp_path: Path) -> None:
    runtime = make_runtime(datasets=str(tmp_path))
    answered(runtime)
    (open_one,) = in_state(runtime, "disputed")
    assert open_one.inference_id == (2).to_bytes(16, "big")
    assert len(in_state(runtime, "labelled")) == 2
    found = quality(runtime.store, MODEL)
    assert found is not None
    assert (found.labels, found.rate) == (2, 0.5)
    version = dataset.load(dataset.build(runtime, MODEL))
    assert sorted(row["verdict"] for row in version.manifest["rows"]) == ["correct", "failure"]
    assert 'verdict="failure"} 3.0' in runtime.meter.exposition().decode()


def test_another_rule_decides_anew_what_was_said(tmp_path: Path) -> None:
    runtime = make_runtime(datasets=str(tmp_path))
    answered(runtime)
    other = make_runtime(store=runtime.store, datasets=str(tmp_path), last_word="newest")
    run(other)
    assert len(in_state(other, "labelled")) == 3
    found = quality(other.store, MODEL, "newest")
    assert found is not None
    assert (found.labels, round(found.rate, 3)) == (3, 0.667)
    assert len(dataset.load(dataset.build(other, MODEL))) == 3
    run(make_runtime(store=runtime.store, last_word="unanimous"))
    assert len(in_state(other, "disputed")) == 1


def test_agreement_is_told_for_each_annotator() -> None:
    runtime = make_runtime()
    for number, said in enumerate(["aa", "bb", "ab", "bb", "a-", "-b"]):
        candidate = make_candidate(make_flag(number))
        send(runtime, make_flag(number))
        send(
            runtime,
            *(
                make_label(
                    candidate,
                    None if one == "-" else one,
                    1,
                    annotator=who,
                    state="skipped" if one == "-" else "labelled",
                )
                for who, one in zip(("ann", "bob"), said, strict=True)
            ),
        )
    send(runtime, make_flag(9), make_label(make_candidate(make_flag(9)), "a", 1, annotator="cyd"))
    run(runtime)
    found = {one.annotator: one for one in agreement(runtime.store, MODEL)}
    ann, cyd = found["ann"], found["cyd"]
    assert (ann.answers, ann.skips, ann.agreed, ann.disagreed, ann.share) == (5, 1, 3, 1, 0.75)
    assert ann.kappa == pytest.approx(0.5)  # observed 3/4, by chance 1/2·1/4 + 1/2·3/4 = 1/2
    assert (cyd.answers, cyd.agreed, cyd.share, cyd.kappa) == (1, 0, None, None)
    assert agreement(runtime.store, "other:1") == []


def imported(runtime: Runtime, file: Path, *lines: dict[str, Any], allow_new: bool = True) -> list[Label]:
    """Import lines; what was appended to the topic."""
    file.write_text("\n".join(json.dumps({"candidate": CANDIDATE.id, **line}) for line in lines))
    before = runtime.log.end(LABELS)
    import_labels(runtime, file, allow_new=allow_new)
    found = []
    for (topic, partition), offset in before.items():
        found += [load(Label, record.value) for record in runtime.log.read(topic, partition, offset)]
    run(runtime)
    return found


def test_a_file_may_hold_a_line_for_each_annotator_with_their_verdicts(tmp_path: Path) -> None:
    runtime = make_runtime()
    send(runtime, make_flag(3))
    run(runtime)
    file = tmp_path / "labels.jsonl"
    said = imported(
        runtime,
        file,
        {"annotator": "ann", "verdict": "correct"},
        {"annotator": "bob", "verdict": "model wrong", "answer": "5", "note": "blurred"},
        {"annotator": "cyd", "answer": None},
    )
    assert [(one.answer, one.verdict, one.state, one.note) for one in said] == [
        ("3", "correct", "labelled", ""),
        ("5", "wrong", "labelled", "blurred"),
        (None, "", "skipped", ""),
    ]
    assert in_state(runtime, "disputed")
    again = [{"annotator": "bob", "verdict": "wrong", "answer": "5", "note": "blurred"}]
    assert imported(runtime, file, *again) == []
    assert len(imported(runtime, file, {"annotator": "bob", "answer": "3"})) == 1
    assert in_state(runtime, "labelled")
    assert len(imported(runtime, file, {"annotator": "bob", "answer": True})) == 1  # true is not 1, and not 3
    assert in_state(runtime, "disputed")


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ({"answer": " "}, "is empty"),
        ({"answer": ["3", "5"]}, "no classification answer"),
        ({"answer": "3", "verdict": "maybe"}, "correct, wrong, unclear"),
        (
            {"answer": "5", "verdict": "correct"},
            "line 1: answer: '5': is not the model's own, '3'.*say 'wrong'",
        ),
        ({"answer": {"verdict": "correct", "label": "5"}}, "line 1: answer: '5': is not the model's own"),
    ],
)
def test_what_is_no_answer_to_the_question_is_refused_by_name(
    tmp_path: Path, line: dict[str, Any], told: str
) -> None:
    runtime = make_runtime()
    send(runtime, make_flag(3))
    run(runtime)
    with pytest.raises(LabelError, match=told):
        imported(runtime, tmp_path / "labels.jsonl", line)


@pytest.mark.parametrize("depth", [40, 3_000, 100_000])
@pytest.mark.parametrize("brackets", ["[]", ('{"a":', "}")])
def test_a_line_nested_too_deep_is_refused_by_its_number(
    tmp_path: Path, depth: int, brackets: tuple[str, str] | str
) -> None:
    runtime = make_runtime()
    file = tmp_path / "labels.jsonl"
    answer = f"{brackets[0] * depth}1{brackets[1] * depth}"
    file.write_text(f'\n{{"candidate": "{CANDIDATE.id}", "answer": {answer}}}')
    with pytest.raises(
        LabelError, match=r"line 2.*nested deeper than 32 levels; write the answer flat"
    ) as told:
        import_labels(runtime, file)
    assert len(str(told.value)) < 500


def test_a_candidate_is_read_once_however_many_lines_there_are_about_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime, file = make_runtime(), tmp_path / "labels.jsonl"
    send(runtime, make_flag(3), make_flag(4))
    run(runtime)
    imported(runtime, file, *({"annotator": f"before {number}", "answer": "3"} for number in range(20)))
    asked: list[tuple[str, str]] = []
    get_many = runtime.store.get_many

    def get(collection: str, keys: Sequence[str]) -> dict[str, bytes]:
        asked.extend((collection, one) for one in keys)
        return get_many(collection, keys)

    monkeypatch.setattr(runtime.store, "get_many", get)
    monkeypatch.setattr(runtime.store, "get", None)
    ids = [CANDIDATE.id, make_candidate(make_flag(4)).id]
    lines = [
        {"candidate": ids[number % 2], "annotator": f"{number}", "answer": "3"} for number in range(3_000)
    ]
    file.write_text("\n".join(map(json.dumps, lines)))
    assert import_labels(runtime, file, allow_new=True) == 3_000
    assert (len(asked), len(set(asked))) == (4, 4)


def test_what_an_interrupted_import_appended_stays_and_the_next_comes_to_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("davy_miner.imports._AT_ONCE", 10)
    whole, killed = make_runtime(), make_runtime()
    lines = [{"annotator": f"{number}", "answer": "35"[number % 3 > 0]} for number in range(25)]
    for runtime in (whole, killed):
        send(runtime, make_flag(3))
        run(runtime)
    file = tmp_path / "labels.jsonl"
    assert len(imported(whole, file, *lines)) == 25
    producer = killed.log.producer()
    append, left = producer.append, [10, 0]

    def dying(messages: Sequence[Message]) -> None:
        if not left.pop(0):
            raise KeyboardInterrupt
        append(messages)

    with monkeypatch.context() as patched:
        patched.setattr(producer, "append", dying)
        patched.setattr(killed.log, "producer", lambda: producer)
        with pytest.raises(KeyboardInterrupt):
            import_labels(killed, file, allow_new=True)
    ((place, _),) = killed.log.end(LABELS).items()
    assert len(list(killed.log.read(*place, 0))) == 10
    assert import_labels(killed, file, allow_new=True) == 25  # nobody has taken the first ones in yet
    run(killed)
    assert import_labels(killed, file, allow_new=True) == 0
    decided_by = [
        [
            (one.annotator, one.answer)
            for one in revisions_of(runtime.store, CANDIDATE.id).decided("majority", OWN).opinions  # type: ignore[union-attr]
        ]
        for runtime in (whole, killed)
    ]
    assert decided_by[0] == decided_by[1]
    assert len(decided_by[0]) == 25


def test_a_line_that_fails_imports_nothing_whatever_stands_before_it(tmp_path: Path) -> None:
    runtime = make_runtime()
    send(runtime, make_flag(3))
    run(runtime)
    lines: list[dict[str, Any]] = [{"annotator": f"{number}", "answer": "3"} for number in range(1_500)]
    end = runtime.log.end(LABELS)
    with pytest.raises(LabelError, match="line 1501: answer: ' ': is empty"):
        imported(runtime, tmp_path / "labels.jsonl", *lines, {"answer": " "})
    assert runtime.log.end(LABELS) == end


def test_a_file_as_editors_write_it_is_read(tmp_path: Path) -> None:
    runtime = make_runtime()
    send(runtime, make_flag(3))
    run(runtime)
    file = tmp_path / "labels.jsonl"
    line = json.dumps({"candidate": CANDIDATE.id, "answer": "5", "note": "a\u2028b"}, ensure_ascii=False)
    file.write_bytes(f"{line}\r\n".encode("utf-8-sig"))
    assert import_labels(runtime, file, allow_new=True) == 1


ANSWERS = {
    "one class": ({"label": "cat"}, "dog", "cot", "cow"),
    "named columns": ({"probs": [0.9, 0.1], "class_names": ["cat", "dog"]}, "dog", "Dog", "cow"),
    "numbers": ({"label": 3}, "3.0", 4, "5"),
    "several": ({"classes": ["cat", "dog"]}, ["dog"], ["dog", "cow"], ["cow"]),
    "boxes": (
        {"boxes": [[0.0, 0.0, 1.0, 1.0]], "labels": ["cat"]},
        [{"box": [0.0, 0.0, 2.0, 2.0], "label": "cat"}],
        [{"box": [0.0, 0.0, 2.0, 2.0], "label": "cart"}],
        [{"box": [0.0, 0.0, 2.0, 2.0], "label": "cow"}],
    ),
}


@pytest.mark.parametrize("kind", ANSWERS)
def test_a_class_nobody_knows_is_brought_in_only_when_told_to(kind: str, tmp_path: Path) -> None:
    outputs, known, new, other = ANSWERS[kind]
    runtime, file = make_runtime(), tmp_path / "labels.jsonl"
    flags = [make_flag(number, outputs=outputs) for number in (3, 4)]
    if kind == "one class":
        flags[1] = make_flag(4, outputs={"label": "dog"})
    send(runtime, *flags)
    run(runtime)
    assert len(imported(runtime, file, {"answer": known, "verdict": "wrong"}, allow_new=False)) == 1
    for answer in (new, other):
        with pytest.raises(
            LabelError, match=r"line 1: answer: .* is no class of digits:1, .*known are .*--allow-new"
        ):
            imported(runtime, file, {"answer": answer}, allow_new=False)
    assert len(imported(runtime, file, {"answer": new}, allow_new=True)) == 1
    assert len(imported(runtime, file, {"answer": new, "annotator": "ann"}, allow_new=False)) == 1


def test_a_class_of_a_name_nearly_known_is_asked_after(tmp_path: Path) -> None:
    runtime = make_runtime()
    send(runtime, make_flag(3, outputs={"label": "cat"}))
    run(runtime)
    with pytest.raises(LabelError, match="did you mean cat"):
        imported(runtime, tmp_path / "labels.jsonl", {"answer": "cats"}, allow_new=False)


@pytest.mark.parametrize("outputs", [{"value": 3.5}, {"text": "a b"}])
def test_numbers_and_texts_have_no_classes(outputs: dict[str, Any], tmp_path: Path) -> None:
    runtime, answer = make_runtime(), 7.25 if "value" in outputs else "anything"
    send(runtime, make_flag(3, outputs=outputs))
    run(runtime)
    assert len(imported(runtime, tmp_path / "labels.jsonl", {"answer": answer}, allow_new=False)) == 1


def test_the_rule_is_checked_when_it_is_set() -> None:
    assert load_settings(env={"DAVY_MINE_LAST_WORD": "newest"}).mine.last_word == "newest"
    with pytest.raises(SettingError, match="majority, newest, unanimous"):
        load_settings(env={"DAVY_MINE_LAST_WORD": "loudest"})
