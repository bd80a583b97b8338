"""What a pipeline of Hugging Face answered to one input, by task, in fields that do not depend on the answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

import numpy as np

Outputs: TypeAlias = dict[str, Any]
Reader: TypeAlias = Callable[[Any], Outputs]
"""From what a pipeline gave for one input to the fields of the inference."""

_SURE: Final = 0.02
"""How far the scores of all classes may be from one and still exclude one another."""


def is_chat(value: Any) -> bool:
    """Return whether a value is the messages of one chat."""
    messages = isinstance(value, (list, tuple)) and len(value) > 0
    return messages and all(isinstance(each, Mapping) and "role" in each for each in value)


def reader_for(task: str, config: Any) -> Reader:
    """Return how the answers of a task are read; `config` is the model's, whose classes have numbers."""
    numbers: Mapping[str, int] = dict(getattr(config, "label2id", None) or {})
    independent = getattr(config, "problem_type", None) == "multi_label_classification"
    if task.endswith("-classification") or task == "sentiment-analysis":
        if task == "token-classification":
            return _entities
        if task.startswith("zero-shot-"):
            return _zero_shot
        return lambda found: _classes(found, numbers, independent=independent)
    if task == "image-segmentation":
        return lambda found: _segments(found, numbers)
    return _BY_TASK.get(task, _anything)


def _classes(found: Any, numbers: Mapping[str, int], *, independent: bool) -> Outputs:
    """Read the best few classes: the best with its score; of all classes also the probabilities, in their order."""
    scored = [found] if isinstance(found, Mapping) else list(found or ())
    if not scored or not all({"label", "score"} <= each.keys() for each in scored):
        return _anything(found)
    if numbers and len(numbers) == 1:  # a regression: its one class says nothing
        return {"value": float(scored[0]["score"])}
    whole = len(scored) > 1 and {each["label"] for each in scored} == numbers.keys()
    probs = None
    if whole and len(scored) == len(numbers):
        ordered = sorted(scored, key=lambda each: numbers[each["label"]])
        probs = np.array([each["score"] for each in ordered], np.float32)
        if independent and abs(float(probs.sum()) - 1.0) > _SURE:
            return {"probs": probs}  # every class holds or not, and none is the likeliest
    best = max(scored, key=lambda each: each["score"])
    outputs = {"label": best["label"], "score": float(best["score"])}
    return outputs if probs is None else {**outputs, "probs": probs}


def _zero_shot(found: Any) -> Outputs:
    """Read a text among classes that the call names: the probabilities in the order of the alphabet."""
    if isinstance(found, Mapping):
        labels, scores = list(found["labels"]), np.array(found["scores"], np.float32)
    else:  # pictures and sounds, by record
        labels = [each["label"] for each in found]
        scores = np.array([each["score"] for each in found], np.float32)
    order = sorted(range(len(labels)), key=lambda at: labels[at])
    probs = scores[order]
    names = [labels[at] for at in order]
    if len(names) > 1 and abs(float(probs.sum()) - 1.0) > _SURE:
        return {"probs": probs, "class_names": names}
    outputs: Outputs = {"label": labels[0], "score": float(scores[0])}
    return {**outputs, "probs": probs, "class_names": names} if len(names) > 1 else outputs


def _entities(found: Any) -> Outputs:
    """Read entities as lists of one length, whatever their number: what each is, its words, its score and its place."""
    rows = list(found or ())
    outputs: Outputs = {
        "entities": [str(each.get("entity_group", each.get("entity"))) for each in rows],
        "words": [str(each.get("word", "")) for each in rows],
        "scores": np.array([each.get("score", np.nan) for each in rows], np.float32),
    }
    places = [(each.get("start"), each.get("end")) for each in rows]
    if all(start is not None and end is not None for start, end in places):  # slow tokenisers know no places
        outputs["spans"] = np.array(places, np.int64).reshape(-1, 2)
    return outputs


def _answer(found: Any) -> Outputs:
    """Read the best of the answers to a question; none that was found is an empty one without any certainty."""
    best = found if isinstance(found, Mapping) else next(iter(found or ()), {"answer": "", "score": 0.0})
    kept = {str(name): value for name, value in best.items() if value is not None}
    return {name: _number(value) if name == "score" else value for name, value in kept.items()}


def _generated(found: Any) -> Outputs:
    """Read the first of the sequences that were generated; the texts of the others stand beside it."""
    rows = [found] if isinstance(found, Mapping) else list(found or ())
    if not rows or not all(isinstance(each, Mapping) for each in rows):
        return _anything(found)
    first = {str(name): _added(value) for name, value in rows[0].items() if name != "input_text"}
    if len(rows) == 1:
        return first
    name = next(iter(first))
    return {**first, "others": [_added(each.get(name)) for each in rows[1:]]}


def _filled(found: Any) -> Outputs:
    """Read the likeliest token for each mask; with several masks the words in order, as sure as the least sure."""
    masks = found if found and isinstance(found[0], list) else [found]
    best = [max(each, key=lambda one: one["score"]) for each in masks if each]
    if not best:
        return {"label": "", "score": 0.0}
    outputs: Outputs = {
        "label": " ".join(str(one["token_str"]).strip() for one in best),
        "score": min(float(one["score"]) for one in best),
    }
    return {**outputs, "sequence": best[0]["sequence"]} if len(best) == 1 else outputs


def _features(found: Any) -> Outputs:
    """Read what a model thinks of its input: the mean over tokens, or over places."""
    tokens = np.asarray(_plain(found), np.float32)
    return {"embedding": tokens.reshape(-1, tokens.shape[-1]).mean(axis=0)}


def _objects(found: Any) -> Outputs:
    """Read objects as detectors of any framework give them: corners, scores and names, whatever their number."""
    rows = list(found or ())
    boxes = [[each["box"][name] for name in ("xmin", "ymin", "xmax", "ymax")] for each in rows]
    return {
        "boxes": np.array(boxes, np.float32).reshape(-1, 4),
        "scores": np.array([each["score"] for each in rows], np.float32),
        "labels": [str(each["label"]) for each in rows],
    }


def _segments(found: Any, numbers: Mapping[str, int]) -> Outputs:
    """Read regions as one map of the numbers of classes, with the name, the score and the share of the picture of each.

    Where nothing is, or the class has no number, the map has the number after the last class.
    """
    rows = list(found or ())
    labels = [str(each["label"]) for each in rows]
    masks = [np.asarray(each["mask"]) > 0 for each in rows]
    nothing = max(numbers.values(), default=len(rows)) + 1
    outputs: Outputs = {"labels": labels, "areas": np.array([each.mean() for each in masks], np.float32)}
    if rows and all(each.get("score") is not None for each in rows):
        outputs["scores"] = np.array([each["score"] for each in rows], np.float32)
    if masks and len({each.shape for each in masks}) == 1:
        grid = np.full(masks[0].shape, nothing, np.uint8 if nothing < 256 else np.uint16)
        for label, mask in zip(labels, masks, strict=True):
            grid[mask] = numbers.get(label, nothing)
        outputs["mask"] = grid
    return outputs


def _masks(found: Any) -> Outputs:
    """Read regions without classes: how sure each is, and its share of the picture."""
    shares = [float(np.asarray(_plain(each), bool).mean()) for each in found.get("masks", ())]
    return {
        "areas": np.array(shares, np.float32),
        "scores": np.asarray(_plain(found.get("scores", ())), np.float32),
    }


def _depth(found: Any) -> Outputs:
    return {"depth": np.asarray(_plain(found["predicted_depth"]), np.float32).squeeze()}


def _anything(found: Any) -> Outputs:
    """Read an answer of no known task: records by their names, anything else as one value."""
    if isinstance(found, list) and len(found) == 1:
        found = found[0]
    if isinstance(found, Mapping):
        return {str(name): _added(value) for name, value in found.items()}
    return {"value": _plain(found)}


def _added(value: Any) -> Any:
    """Return what a model added to a chat; anything else as it is."""
    if is_chat(value):
        return value[-1].get("content")
    return _plain(value)


def _plain(value: Any) -> Any:
    """Return a tensor as an array on the CPU; pictures as their pixels."""
    if hasattr(value, "detach"):
        return value.detach().cpu().numpy()
    return pixels(value)


def _number(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value


def pixels(value: Any) -> Any:
    """Return a picture of Pillow as an array; anything else as it is."""
    return np.asarray(value) if hasattr(value, "convert") and hasattr(value, "getbbox") else value


_BY_TASK: Final[Mapping[str, Reader]] = {
    "ner": _entities,
    "question-answering": _answer,
    "document-question-answering": _answer,
    "visual-question-answering": _answer,
    "table-question-answering": _answer,
    "text-generation": _generated,
    "text2text-generation": _generated,
    "summarization": _generated,
    "translation": _generated,
    "image-to-text": _generated,
    "image-text-to-text": _generated,
    "any-to-any": _generated,
    "fill-mask": _filled,
    "feature-extraction": _features,
    "image-feature-extraction": _features,
    "object-detection": _objects,
    "zero-shot-object-detection": _objects,
    "mask-generation": _masks,
    "depth-estimation": _depth,
}
