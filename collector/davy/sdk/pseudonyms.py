"""Names that stand for values which must not leave the process: equal values have equal names, and nobody can go back.

A keyed hash with a secret salt: without the salt, a name cannot be told from noise, nor found by hashing guesses [1]_.

References
----------
.. [1] Article 29 Working Party, Opinion 05/2014 on Anonymisation Techniques, section 4 ("hash function with a key").
"""

from __future__ import annotations

import os
from typing import Any, Final

import numpy as np

from davy.codec import dump_any

_DIGITS: Final = 16
_OWN_SALT: Final = os.urandom(32)


def pseudonym(value: Any, salt: str) -> str:
    """Return 32 hexadecimal digits that stand for a value.

    Parameters
    ----------
    value
        Text, a number, bytes, an array or a container of these. Text is taken as it is: the pseudonym of ``"42"``
        is not that of ``42``.
    salt
        The secret; when it is empty one is drawn for this process and those it forks, so that pseudonyms of
        different processes have nothing in common.

    Raises
    ------
    InvalidInference
        The value has no bytes of its own.

    Examples
    --------
    >>> pseudonym("ann@example.org", "pepper") == pseudonym("ann@example.org", "pepper")
    True
    >>> pseudonym("ann@example.org", "pepper") == pseudonym("ann@example.org", "salt")
    False
    """
    from hashlib import blake2b  # loads OpenSSL, which most apps that watch a model need not have

    key = blake2b(salt.encode()).digest() if salt else _OWN_SALT
    plain = value.item() if isinstance(value, np.generic) else value
    return blake2b(dump_any(plain), key=key, digest_size=_DIGITS).hexdigest()
