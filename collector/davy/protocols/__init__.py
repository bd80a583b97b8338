"""What calls of language models say, as their servers write it: requests, answers, and streams of events.

The gateway reads what was logged of a call with these modules, and the middleware what an application answered.
"""

from davy.protocols.completions import CompletionCall, read_call

__all__ = ["CompletionCall", "read_call"]
