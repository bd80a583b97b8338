"""The SDK: captures inferences inside a serving app, which it never makes fail, wait or grow.

The app's thread decides (`ids`, `sampling`), applies the rules for fields (`shaping`), encodes (`encoding`) and
queues (`lane`); one daemon thread (`sender`) joins chunks into envelopes (`parcels`), stores payloads apart (`claims`)
and sees everything stored (`outlet`) or kept (`backlog`). Exceptions end in `guard`, forks in `forksafe`.
"""

from davy.sdk.api import capture, context, feedback, flush, init, pseudonym, shutdown, stats, watch

__all__ = ["capture", "context", "feedback", "flush", "init", "pseudonym", "shutdown", "stats", "watch"]
