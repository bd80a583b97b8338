"""Label Studio: candidates become tasks, annotations become labels, exactly once each.

`client` is the only file that knows the SDK, `templates` what people see, `push` and `pull` the two ways.
"""

from davy_miner.labelstudio.adapter import LabelStudio
from davy_miner.labelstudio.server import LocalLabelStudio

__all__ = ["LabelStudio", "LocalLabelStudio"]
