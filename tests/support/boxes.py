"""A third party's form: boxes over a picture, drawn anew where the model's are wrong."""

from __future__ import annotations

from typing import Any
from xml.etree.ElementTree import Element, SubElement

from davy_miner.labelstudio.forms import Item, Said

VERDICT = "verdict"
RIGHT, WRONG = "all right", "something is wrong"


class Boxes:
    """Shows a picture with the model's boxes; an annotator says whether they are right, or mends them."""

    name = "boxes"

    def suits(self, item: Item) -> bool:
        return item.link is not None and item.answer.form == "boxes"

    def view(self, *, blind: bool) -> list[Element]:
        tags = [Element("Image", name="subject", value="$image")]
        tags += [Element("RectangleLabels", name="answer", toName="subject")]
        if not blind:
            verdict = Element("Choices", name=VERDICT, toName="subject", choice="single")
            for value in (RIGHT, WRONG):
                SubElement(verdict, "Choice", value=value)
            tags.append(verdict)
        return tags

    def classes(self, item: Item) -> list[str]:
        return list(item.answer.class_names) or sorted({one["label"] for one in item.answer.value})

    def data(self, item: Item) -> dict[str, Any]:
        return {"image": item.link}

    def predictions(self, item: Item) -> list[dict[str, Any]]:
        height, width = item.inference.inputs["image"].shape[:2]
        return [region(one["label"], one["box"], width, height) for one in item.answer.value]

    def read(self, result: Any, item: Item) -> Said:
        height, width = item.inference.inputs["image"].shape[:2]
        said = [one["value"]["choices"] for one in result if one["type"] == "choices"]
        if [RIGHT] in said:
            return Said("correct", item.answer.value)
        drawn = [one["value"] for one in result if one["type"] == "rectanglelabels"]
        boxes = [
            {
                "box": [
                    value["x"] * width / 100,
                    value["y"] * height / 100,
                    (value["x"] + value["width"]) * width / 100,
                    (value["y"] + value["height"]) * height / 100,
                ],
                "label": item.names.get(value["rectanglelabels"][0], value["rectanglelabels"][0]),
            }
            for value in drawn
        ]
        return Said("wrong" if [WRONG] in said else "", boxes)


def region(label: str, box: Any, width: int, height: int) -> dict[str, Any]:
    """Return a box, given by its corners in pixels, as Label Studio has it."""
    left, top, right, bottom = box
    value = {
        "x": 100 * left / width,
        "y": 100 * top / height,
        "width": 100 * (right - left) / width,
        "height": 100 * (bottom - top) / height,
        "rectanglelabels": [label],
    }
    return {"from_name": "answer", "to_name": "subject", "type": "rectanglelabels", "value": value}
