"""An object that refuses to tell its class, and raises no usual exception, costs its value and nothing of the app."""

from __future__ import annotations

from typing import Any

import pytest
from support.sdk_rig import inferences_in

import davy

pytestmark = pytest.mark.fast


class Refuses:
    def __getattr__(self, name: str) -> Any:
        raise SystemExit(name)

    @property
    def __class__(self) -> Any:
        raise ValueError("no class")


@pytest.mark.may_swallow
@pytest.mark.parametrize(
    "call",
    [
        davy.watch(lambda x, y=1: {"value": 1.0}, "m:1"),
        lambda odd: davy.watch(lambda x, y=1: {"value": 1.0}, "m:1")(1.0, odd),
        lambda odd: davy.watch(lambda x: odd, "m:1")(1.0),
        lambda odd: davy.capture("m:1", {"x": odd}, {"value": 1.0}),
        lambda odd: davy.capture("m:1", {"x": 1.0}, {"value": odd}),
        lambda odd: davy.capture("m:1", {"x": 1.0}, {"value": 1.0}, tags={"t": odd}),
        lambda odd: davy.feedback("0" * 32, odd),
    ],
)
def test_nothing_of_it_reaches_the_app(call: Any, own_client: str) -> None:
    call(Refuses())
    davy.capture("well:1", {"x": 1.0}, {"value": 1.0})
    assert davy.flush()
    assert [one.model for one in inferences_in(own_client)][-1] == "well:1"
