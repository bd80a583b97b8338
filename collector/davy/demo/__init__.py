"""``davy demo``: the whole loop once, for real, on scikit-learn's digits."""

from davy.demo.command import demo

__all__ = ["demo"]
