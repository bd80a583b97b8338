"""Bytes: inferences to envelopes and back, and the small events. The only room that knows msgspec.

An envelope holds inferences of one model with the same field names, by column. The caller's thread turns each
inference, or each batch of them, into a `Chunk` of immutable bytes; of arrays alone it only takes a `Snapshot`, and
the thread that sends does the rest. Those of one `Layout` are joined by `pack`; `decode` gives a field of an envelope
as one ``frombuffer`` and a reshape.

How a field is kept follows from what was seen: booleans, 64-bit integers and floats, text, bytes, blob references,
tensors of one dtype and shape, tensors of one dtype and any shape and, when nothing narrower fits, MessagePack.
A layout only ever widens, so a field that flickers between kinds costs a few envelopes, not one a row. No value loses
by that: an integer that a float would round, and arrays of several dtypes, widen their field to MessagePack.
Dtypes carry the names of the Open Inference Protocol.
"""

from davy.codec._encode import Encoder, encode_as
from davy.codec._events import dump, load
from davy.codec._layout import Chunk, Layout, refer, without
from davy.codec._plain import dump_any, load_any
from davy.codec._references import references
from davy.codec._snapshots import Recipe, Snapshot
from davy.codec._typed import keys_of, typed
from davy.codec._wire import decode, pack, renamed, select, split

__all__ = [
    "Chunk",
    "Encoder",
    "Layout",
    "Recipe",
    "Snapshot",
    "decode",
    "dump",
    "dump_any",
    "encode_as",
    "keys_of",
    "load",
    "load_any",
    "pack",
    "refer",
    "references",
    "renamed",
    "select",
    "split",
    "typed",
    "without",
]
