"""First half of the way from the gateway's protocols to a person: bodies as servers and loggers send them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import httpx

ASKED: Final = [[float(at), float(-at), 0.5] for at in range(8)]
PROBS: Final = [[0.7, 0.2, 0.1], [0.1, 0.8, 0.1]] * 4
FRUITS: Final = ["apple", "fig", "pear"]
LIKELIEST: Final = [FRUITS[0], FRUITS[1]] * 4
TEXTS: Final = [f"Where is parcel {at}?" for at in range(8)]
REPLIES: Final = [f"Parcel {at} is on its way." for at in range(8)]


class Protocols:
    """Sends calls to a gateway; each method is a row of the table in docs/integrations.md.

    Parameters
    ----------
    address
        Of the gateway.
    """

    def __init__(self, address: str) -> None:
        self._http = httpx.Client(base_url=address, timeout=60.0, trust_env=False)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def rows(self) -> dict[str, Callable[[str], list[Any]]]:
        """Return the rows of the table, each with what captures for it."""
        return {
            "Gateway, `/v1/inferences`": self.own,
            "Gateway, KServe V1": self.kserve,
            "Gateway, TensorFlow Serving": self.tensorflow,
            "Gateway, Open Inference Protocol": self.oip,
            "Gateway, generate": self.generate,
            "Gateway, Seldon V1": self.seldon,
            "Gateway, MLflow": self.mlflow,
            "Gateway, OpenAI chat": self.chat,
            "Gateway, OpenAI completions": self.completions,
            "Gateway, OpenAI embeddings": self.embeddings,
            "Gateway, reranking": self.reranking,
        }

    def own(self, model: str) -> list[Any]:
        """Davy's own JSON."""
        calls = [
            {"model": model, "inputs": {"x": x}, "outputs": {"probs": probs, "class_names": FRUITS}}
            for x, probs in zip(ASKED, PROBS, strict=True)
        ]
        self._post("/v1/inferences", calls)
        return LIKELIEST

    def kserve(self, model: str) -> list[Any]:
        """Rows of features and of probabilities."""
        self._logged(model, {"instances": ASKED}, {"predictions": PROBS}, output="probs")
        return ["0", "1"] * 4

    def tensorflow(self, model: str) -> list[Any]:
        """The columns of a signature that classifies."""
        answer = {"outputs": {"scores": PROBS, "classes": [FRUITS] * 8}}
        self._logged(model, {"inputs": {"x": ASKED}}, answer)
        return LIKELIEST

    def oip(self, model: str) -> list[Any]:
        """A tensor of labels."""
        given = {"name": "x", "shape": [8, 3], "datatype": "FP32", "data": ASKED}
        answer = {"name": "label", "shape": [8], "datatype": "BYTES", "data": LIKELIEST}
        self._post(f"/v1/oip/{model}", {"request": {"inputs": [given]}, "response": {"outputs": [answer]}})
        return LIKELIEST

    def generate(self, model: str) -> list[Any]:
        """Triton's extension for models of language."""
        for asked, reply in zip(TEXTS, REPLIES, strict=True):
            self._logged(model, {"text_input": asked}, {"text_output": reply})
        return REPLIES

    def seldon(self, model: str) -> list[Any]:
        """Names of columns and of classes."""
        asked = {"data": {"names": ["a", "b", "c"], "ndarray": ASKED}}
        answer = {"data": {"names": FRUITS, "ndarray": PROBS}}
        self._logged(model, asked, answer, kind="io.seldon.serving.inference")
        return LIKELIEST

    def mlflow(self, model: str) -> list[Any]:
        """A table and its predictions."""
        asked = {"dataframe_split": {"columns": ["a", "b", "c"], "data": ASKED}}
        self._logged(model, asked, {"predictions": [10.5 * at for at in range(8)]})
        return [10.5 * at for at in range(8)]

    def chat(self, model: str) -> list[Any]:
        """Messages and a choice."""
        for asked, reply in zip(TEXTS, REPLIES, strict=True):
            message = {"message": {"role": "assistant", "content": reply}, "finish_reason": "stop"}
            self._logged(model, {"messages": [{"role": "user", "content": asked}]}, {"choices": [message]})
        return REPLIES

    def completions(self, model: str) -> list[Any]:
        """A prompt and a choice."""
        for asked, reply in zip(TEXTS, REPLIES, strict=True):
            self._logged(model, {"prompt": asked}, {"choices": [{"text": reply, "finish_reason": "stop"}]})
        return REPLIES

    def embeddings(self, model: str) -> list[Any]:
        """Texts and their vectors."""
        vectors = [{"index": at, "embedding": [float(at), 1.0]} for at in range(8)]
        self._logged(model, {"input": TEXTS}, {"data": vectors})
        return [None] * 8

    def reranking(self, model: str) -> list[Any]:
        """Documents and their order."""
        for asked in TEXTS:
            found = [{"index": 1, "relevance_score": 0.9}, {"index": 0, "relevance_score": 0.2}]
            self._logged(model, {"query": asked, "documents": ["here", "there"]}, {"results": found})
        return [None] * 8

    def _logged(
        self,
        model: str,
        request: Any,
        response: Any,
        *,
        output: str = "",
        kind: str = "org.kubeflow.serving.inference",
    ) -> None:
        """Send a call as a payload logger does: its halves, as two events."""
        self._calls = getattr(self, "_calls", 0) + 1
        query = {"output": output} if output else {}
        for side, body in (("request", request), ("response", response)):
            headers = {
                "ce-specversion": "1.0",
                "ce-id": f"call-{self._calls}",
                "ce-requestid": f"call-{self._calls}",
                "ce-source": "logger",
                "ce-type": f"{kind}.{side}",
            }
            self._post(f"/v1/cloudevents/{model}", body, headers=headers, params=query)

    def _post(self, path: str, body: Any, **more: Any) -> None:
        answer = self._http.post(path, json=body, **more)
        assert answer.is_success, (path, answer.status_code, answer.text)
