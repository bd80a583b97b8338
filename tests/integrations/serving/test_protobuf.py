"""Messages of protobuf as arguments and answers, as handlers of gRPC have them."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.struct_pb2 import Struct
from support.sdk_rig import inferences_in

import davy

TYPES = descriptor_pb2.FieldDescriptorProto
ONE, MANY = TYPES.LABEL_OPTIONAL, TYPES.LABEL_REPEATED


@pytest.fixture(scope="module")
def kinds() -> dict[str, Any]:
    """Return classes of messages of every sort of field, made as `protoc` makes them."""
    file = descriptor_pb2.FileDescriptorProto(name="a.proto", package="a", syntax="proto3")
    mood = file.enum_type.add(name="Mood")
    for number, name in enumerate(("CALM", "ANGRY")):
        mood.value.add(name=name, number=number)
    place = file.message_type.add(name="Place")
    place.field.add(name="city", number=1, type=TYPES.TYPE_STRING, label=ONE)
    request = file.message_type.add(name="Request")
    for number, (name, kind, label, of) in enumerate(
        [
            ("age", TYPES.TYPE_INT32, ONE, ""),
            ("features", TYPES.TYPE_FLOAT, MANY, ""),
            ("place", TYPES.TYPE_MESSAGE, ONE, ".a.Place"),
            ("former", TYPES.TYPE_MESSAGE, ONE, ".a.Place"),
            ("moods", TYPES.TYPE_ENUM, MANY, ".a.Mood"),
            ("mood", TYPES.TYPE_ENUM, ONE, ".a.Mood"),
            ("counts", TYPES.TYPE_MESSAGE, MANY, ".a.Request.CountsEntry"),
        ],
        1,
    ):
        request.field.add(name=name, number=number, type=kind, label=label, type_name=of or None)
    entry = request.nested_type.add(name="CountsEntry")
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, type=TYPES.TYPE_STRING, label=ONE)
    entry.field.add(name="value", number=2, type=TYPES.TYPE_INT32, label=ONE)
    response = file.message_type.add(name="Response")
    response.field.add(name="score", number=1, type=TYPES.TYPE_FLOAT, label=ONE)
    response.field.add(name="places", number=2, type=TYPES.TYPE_MESSAGE, label=MANY, type_name=".a.Place")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)  # type: ignore[no-untyped-call]
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"a.{name}"))  # type: ignore[no-untyped-call]
        for name in ("Request", "Response", "Place")
    }


def test_a_handler_of_grpc_is_read_by_the_fields_of_its_messages(kinds: Any, own_client: str) -> None:
    answer = kinds["Response"](score=0.5, places=[kinds["Place"](city=each) for each in "xyz"])

    class Servicer:
        @davy.watch(model="grpc:1")
        def predict(self, request: Any, context: Any) -> Any:
            return answer

    asked = kinds["Request"](
        features=[1, 2], place=kinds["Place"](city="a"), moods=[1, 0], mood=1, counts={"x": 3}
    )
    assert Servicer().predict(asked, object()) is answer
    davy.flush()
    (found,) = inferences_in(own_client)
    assert found.inputs["features"].tolist() == [1, 2]
    assert list(found.inputs["moods"]) == ["ANGRY", "CALM"]
    left = {"features", "moods", "context"}
    rest = {name: value for name, value in found.inputs.items() if name not in left}
    assert rest == {"age": 0, "place.city": "a", "mood": "ANGRY", "counts.x": 3}
    assert found.outputs["score"] == 0.5
    assert [dict(each) for each in found.outputs["places"]] == [{"city": each} for each in "xyz"]
    assert not davy.stats()["misread"]


def test_a_struct_of_protobuf_is_the_mapping_it_holds(own_client: str) -> None:
    given = Struct()
    given.update({"age": 3, "user": {"city": "x"}})
    davy.watch(lambda features: 0.5, "struct:1")(given)
    davy.flush()
    (found,) = inferences_in(own_client)
    assert dict(found.inputs) == {"age": 3.0, "user.city": "x"}
