"""What Redis has to do for an inference: requests, commands inside scripts, bytes each way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from redis import Redis

_SCRIPTS: Final = ("evalsha", "eval")
_OURS: Final = {"hgetall", "info", "scan", "memory|usage", "ping", "client|setinfo", "script|load"}
"""What only the benchmark asks for, and what clients say when they connect."""
_DIRECT: Final = {"hget", "hlen", "get", "set"}
"""What Davy asks for outside scripts."""


@dataclass(frozen=True, slots=True)
class Work:
    """What a server has done since its start."""

    requests: int
    inside: int
    received: int
    sent: int

    @classmethod
    def of(cls, redis: Redis) -> Work:
        """Ask the server."""
        return cls.told(redis.info("commandstats"), redis.info("stats"))

    @classmethod
    def told(cls, commands: dict[str, Any], stats: dict[str, Any]) -> Work:
        """Read what the server said.

        Examples
        --------
        >>> calls = {"cmdstat_evalsha": {"calls": 2}, "cmdstat_hset": {"calls": 5}, "cmdstat_info": {"calls": 9}}
        >>> Work.told(calls, {"total_net_input_bytes": 10, "total_net_output_bytes": 20})
        Work(requests=2, inside=5, received=10, sent=20)
        """
        calls = {name.removeprefix("cmdstat_"): found["calls"] for name, found in commands.items()}
        ours = {name: count for name, count in calls.items() if name not in _OURS}
        requests = sum(count for name, count in ours.items() if name in _DIRECT or name in _SCRIPTS)
        received, sent = stats["total_net_input_bytes"], stats["total_net_output_bytes"]
        return cls(requests, sum(ours.values()) - requests, received, sent)

    def since(self, before: Work) -> Work:
        """Return the difference."""
        return Work(
            self.requests - before.requests,
            self.inside - before.inside,
            self.received - before.received,
            self.sent - before.sent,
        )

    def per_thousand(self, inferences: int) -> dict[str, float]:
        """Return it for a thousand inferences."""
        share = 1000 / inferences
        return {
            "requests": round(self.requests * share, 3),
            "commands_inside_scripts": round(self.inside * share, 2),
            "bytes_to_redis": round(self.received * share),
            "bytes_from_redis": round(self.sent * share),
        }
