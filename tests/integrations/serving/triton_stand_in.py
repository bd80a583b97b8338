"""What Triton's Python backend gives a model: tensors, requests and responses (github.com/triton-inference-server)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np


class Tensor:
    """A tensor with a name, in main memory."""

    def __init__(self, name: str, data: np.ndarray) -> None:
        self._name, self._data = name, data

    def name(self) -> str:
        return self._name

    def as_numpy(self) -> np.ndarray:
        return self._data

    def is_cpu(self) -> bool:
        return True


class InferenceRequest:
    """A request of one client."""

    def __init__(self, inputs: Sequence[Tensor], request_id: str = "") -> None:
        self._inputs, self._id = inputs, request_id

    def inputs(self) -> Sequence[Tensor]:
        return self._inputs

    def request_id(self) -> str:
        return self._id


class TritonError(Exception):
    """What a response holds instead of tensors."""


class InferenceResponse:
    """What one request is answered with."""

    def __init__(self, output_tensors: Sequence[Tensor] = (), error: Any = None) -> None:
        self._outputs, self._error = output_tensors, error

    def output_tensors(self) -> Sequence[Tensor]:
        return self._outputs

    def has_error(self) -> bool:
        return self._error is not None
