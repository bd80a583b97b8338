"""Davy watches models in production: ``davy.watch(predict, "fraud:3")``, and the log named by ``DAVY_URL`` has it."""

from davy.errors import DavyError
from davy.sdk import capture, context, feedback, flush, init, pseudonym, shutdown, stats, watch

__all__ = [
    "DavyError",
    "capture",
    "context",
    "feedback",
    "flush",
    "init",
    "pseudonym",
    "shutdown",
    "stats",
    "watch",
]
