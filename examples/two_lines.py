"""The two lines on a plain function: ``python examples/two_lines.py``, then ``davy doctor`` and ``davy up``."""

import random

import davy


def predict(amount: float, country: str) -> dict[str, list[float]]:
    """Stand in for a model: the larger the amount, the likelier fraud."""
    fraud = min(amount / (500 if country == "NZ" else 1_000), 1.0)
    return {"probs": [1 - fraud, fraud]}


predict = davy.watch(predict, "fraud:3")

if __name__ == "__main__":
    rng = random.Random(0)
    for _ in range(1_000):
        predict(rng.lognormvariate(4, 1), country=rng.choice(["FR", "NZ", "SE"]))
    davy.flush()
    print(davy.stats())
