"""Every socket that the log on Kafka opened is closed by it, whatever kept it from its brokers."""

from __future__ import annotations

import gc
import socket
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager

import pytest
from support.bad_sinks import Sink, endless_handshake, plain, refused, reset, unanswered, unread, untrusted
from support.kafka_rig import append, lasting

from davy.errors import LogError
from davy.log import open_log

pytestmark = pytest.mark.alone


@contextmanager
def unaccepted() -> Iterator[str]:
    """Has no room left for a connection that waits to be accepted: whoever comes waits to be connected."""
    with ExitStack() as stack:
        server = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(3):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(server.getsockname())
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.parametrize(
    "broker",
    [unaccepted, refused, unread, unanswered, reset, untrusted, endless_handshake, plain],
    ids=lambda broker: broker.__name__,
)
@pytest.mark.filterwarnings("ignore:.*unclosed <ssl.SSLSocket:ResourceWarning")  # what the server left
def test_no_socket_is_left_to_the_garbage_collector_and_the_append_is_over_in_time(broker: Sink) -> None:
    gc.collect()
    with warnings.catch_warnings(record=True) as seen, broker() as url:
        warnings.simplefilter("always", ResourceWarning)
        scheme, _, address = url.partition("://")
        security = "?security=SSL" if scheme == "https" else ""
        with closing(open_log(f"kafka://{address}{security}")) as log, pytest.raises(LogError), lasting(0.3):
            append(log, "a", timeout=0.3)
        gc.collect()
    served = f"laddr=('127.0.0.1', {address.rpartition(':')[2]})"
    assert [told for one in seen if served not in (told := str(one.message))] == []
