"""What `davy doctor` says about a Redis that holds the store: its version, eviction and persistence."""

from __future__ import annotations

from davy.health import Check
from davy.runtime import Runtime


def checks(runtime: Runtime) -> list[Check]:
    """Look at the Redis of the store, when there is one: what it evicts or forgets, Davy has lost."""
    if not runtime.store.url.startswith(("redis://", "rediss://")):
        return []
    from davy.store.redis import RedisStore

    if not isinstance(runtime.store, RedisStore):  # it does not answer, which the check of the store says
        return []
    info = runtime.store.info()
    used = f"{info['redis_version']}, {info['used_memory'] / 2**20:.1f} MiB used"
    policy = str(info["maxmemory_policy"])
    kept = bool(info["aof_enabled"])
    return [
        Check("redis", "ok", f"{used} of {info['maxmemory'] / 2**20:.1f} MiB" if info["maxmemory"] else used),
        Check("redis eviction", "ok", policy)
        if policy == "noeviction"
        else Check(
            "redis eviction", "warning", policy, "set maxmemory-policy to noeviction: records must not vanish"
        ),
        Check("redis persistence", "ok", "append-only file")
        if kept
        else Check(
            "redis persistence",
            "warning",
            "no append-only file",
            "set appendonly yes: a restart loses what was written since the last snapshot",
        ),
    ]
