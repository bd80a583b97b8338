"""The C++ example compiles without a warning and its inference arrives, once, through a real gateway."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from support.gateway_rig import opened, records, stored
from support.gateway_server import GatewayServer
from support.services import service_or_skip

from davy.codec import load
from davy.event import FEEDBACK, Feedback

SOURCE = Path(__file__).parents[2] / "examples" / "cpp" / "client.cpp"


def can_compile() -> bool:
    if not shutil.which("g++"):
        return False
    command = ["g++", "-fsyntax-only", "-x", "c++", "-"]
    return not subprocess.run(
        command, input=b"#include <curl/curl.h>", capture_output=True, check=False
    ).returncode


pytestmark = service_or_skip("libcurl", can_compile(), "apt install g++ libcurl4-openssl-dev")


def test_the_cpp_example_compiles_and_what_it_sends_twice_is_stored_once(tmp_path: Path) -> None:
    program = tmp_path / "client"
    flags = ["-std=c++17", "-Wall", "-Wextra", "-Werror"]
    subprocess.run(["g++", *flags, str(SOURCE), "-lcurl", "-o", str(program)], check=True, timeout=100)
    with GatewayServer(tmp_path, DAVY_GATEWAY_API_KEY="lamp") as gateway:
        for repeated in (0, 1):
            command = [str(program), gateway.url, "lamp"]
            done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
            assert f'"repeated":{repeated}' in done.stdout.splitlines()[0]
        refused = subprocess.run(
            [str(program), gateway.url, "wrong"], capture_output=True, timeout=60, check=False
        )
        assert refused.returncode == 1
    with opened(gateway.log_url) as runtime:
        (one,) = stored(runtime)
        assert (one.model, one.inputs) == ("fraud:3", {"amount": 12.5, "country": "NZ"})
        told = [load(Feedback, record.value) for record in records(runtime, FEEDBACK)]
        assert [event.id for event in told] == [one.id] * 2
