"""For the tests of those who use Davy: what an app captures, in memory, and a world for a plug-in to run in.

::

    import davy.testing

    def test_an_answer_is_captured():
        with davy.testing.capturing() as captured:
            app(amount=12.5)
        assert captured.inferences[0].inputs["amount"] == 12.5
        assert not captured.problems

No file is written, nothing is sent, and nothing stays behind.
"""

from davy.testing._captured import Captured, capturing
from davy.testing._world import Clock, runtime

__all__ = ["Captured", "Clock", "capturing", "runtime"]
