"""What `davy doctor` says about a log on Kafka: whether its topics keep what Davy puts there."""

from __future__ import annotations

from davy.errors import DavyError
from davy.health import Check
from davy.log._kafka.log import ClusterLog
from davy.runtime import Runtime


def checks(runtime: Runtime) -> list[Check]:
    """Look at every topic, when the log is one on Kafka."""
    if not isinstance(runtime.log, ClusterLog):
        return []
    try:
        found = runtime.log.look_over()
    except DavyError as error:
        return [Check("topics", "wrong", runtime.log.url, error.remedy)]
    return [Check(f"topic {one.topic}", one.state, one.found, one.remedy) for one in found]
