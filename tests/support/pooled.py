"""What is given to pools of processes; a child must find it by import."""

from __future__ import annotations

import davy


class Model:
    """A model whose method is given away."""

    def predict(self, x: float) -> dict[str, float]:
        """Answer twice what is asked."""
        return {"value": 2 * x}


def double(x: float) -> float:
    """Answer twice what is asked."""
    return 2 * x


renamed = davy.watch(double, "function:1")
