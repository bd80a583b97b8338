"""The SDK: captures inferences inside a serving app, which it never makes fail, wait or grow.

The app's thread decides (`ids`, `sampling`), encodes (`client`) and queues (`lane`); one daemon thread (`sender`) joins
chunks into envelopes (`parcels`) and sees them stored (`sink`). Exceptions end in `guard`, forks in `forksafe`.
"""

from davy.sdk.api import capture, context, feedback, flush, init, shutdown, stats, watch

__all__ = ["capture", "context", "feedback", "flush", "init", "shutdown", "stats", "watch"]
