"""Dead letters: what roles and the gateway set aside, why, and what was done about it.

A letter lies in ``<topic>.dlq`` with its bytes unchanged and the reason in its headers. The log only appends, so what
became of a letter is a mark in the store, under the letter's own place. Whoever puts a letter back appends first and
marks after: a crash in between can put the record back a second time, never lose it, and readers drop what comes twice
by its id.
"""

from davy.dead_letters.letters import DeadLetters, Letter, Selection, State
from davy.dead_letters.writing import explain, is_letter, letter_of, without_bytes

__all__ = [
    "DeadLetters",
    "Letter",
    "Selection",
    "State",
    "explain",
    "is_letter",
    "letter_of",
    "without_bytes",
]
