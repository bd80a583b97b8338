"""What a model's answer is, one class a task type: the answer, its class names, agreement and the verdict on a label.

`read` finds the answer in the outputs of one inference; forms, verdicts, quality and datasets all ask it. A task type
is a subclass of `Answer` in a file of its own, and an entry of `TASKS`.
"""

from davy.outputs.base import Answer, Unknown
from davy.outputs.classification import Classification
from davy.outputs.detection import Detection
from davy.outputs.entities import Entities
from davy.outputs.fields import CLASS_NAMES
from davy.outputs.known import CONFIDENCES, LOGITS, PROBS, find
from davy.outputs.labels import LABELS
from davy.outputs.multilabel import MultiLabel
from davy.outputs.ranking import Ranking
from davy.outputs.reading import TASKS, read
from davy.outputs.regression import Regression
from davy.outputs.segmentation import Segmentation
from davy.outputs.text import Text
from davy.outputs.values import equal, key, names, text
from davy.outputs.verdicts import CORRECT, UNCLEAR, WRONG, verdict

__all__ = [
    "CLASS_NAMES",
    "CONFIDENCES",
    "CORRECT",
    "LABELS",
    "LOGITS",
    "PROBS",
    "TASKS",
    "UNCLEAR",
    "WRONG",
    "Answer",
    "Classification",
    "Detection",
    "Entities",
    "MultiLabel",
    "Ranking",
    "Regression",
    "Segmentation",
    "Text",
    "Unknown",
    "equal",
    "find",
    "key",
    "names",
    "read",
    "text",
    "verdict",
]
