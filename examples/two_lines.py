"""The two lines on a plain function: ``python examples/two_lines.py`` serves 1,000 usual customers.

With ``--drift`` amounts are three times as large, which is what Davy is to find: README.md says how.
"""

import random
import sys

import davy


def predict(amount: float, country: str) -> dict[str, list[float]]:
    """Stand in for a model: the larger the amount, the likelier fraud."""
    fraud = min(amount / (500 if country == "NZ" else 1_000), 1.0)
    return {"probs": [1 - fraud, fraud]}


predict = davy.watch(predict, "fraud:3")

if __name__ == "__main__":
    drift = "--drift" in sys.argv
    rng = random.Random(drift)
    for _ in range(1_000):
        amount = rng.lognormvariate(4, 1) * (3 if drift else 1)
        predict(amount, country=rng.choice(["FR", "NZ", "SE"]))
    davy.flush()
    print(davy.stats())
