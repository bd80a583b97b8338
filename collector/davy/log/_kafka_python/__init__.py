"""What kafka-python gives: an admin, a sender, a member of a group and a reader."""

import logging
import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # it reads its schemas with a deprecated function
    import kafka  # noqa: F401

_logger = logging.getLogger("kafka")
if _logger.level == logging.NOTSET:
    # It logs every connection that comes and goes. What keeps Davy from its work Davy says itself, once.
    _logger.setLevel(logging.CRITICAL)
