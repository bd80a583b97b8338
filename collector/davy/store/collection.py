"""Collections of the store: each is declared once, by the room that writes it, and used through its declaration.

A `Collection` knows its name, the type of its records, how they become bytes and who writes them, so nobody else spells
a name or reads another room's bytes. What is declared is remembered: a collection in a store that no declaration knows
is a mistake that `declaration` finds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType
from typing import Any, Final, Generic, TypeVar

from davy.codec import dump, dump_any, load, load_any
from davy.event import VERSION
from davy.store.base import Batch, Store

T = TypeVar("T")
_declared: Final[dict[str, Collection[Any]]] = {}


@dataclass(frozen=True, slots=True, eq=False)
class Collection(Generic[T]):
    """Records of one type under one name.

    Attributes
    ----------
    name
        What the store calls it.
    record
        Type of a record as Python has it.
    writer
        Who writes it: roles and commands, for a person.
    dump, load
        A record to bytes and back; `load` raises DecodeError or ValueError on bytes that are none.
    version
        Version of the bytes. Fields are only ever appended, so a reader takes those before and the next one.
    by
        Empty, or what each of several collections of this kind is for, a model or a partition: see `of`.

    Examples
    --------
    >>> from davy.store import open_store
    >>> colours = Collection("colours", str, "nobody", str.encode, bytes.decode)
    >>> store = open_store("memory://colours")
    >>> store.apply(colours.put(Batch(), "sky", "blue"))
    >>> colours.get(store, "sky"), colours.get(store, "sea"), list(colours.items(store))
    ('blue', None, [('sky', 'blue')])
    """

    name: str
    record: type[T]
    writer: str
    dump: Callable[[T], bytes]
    load: Callable[[bytes], T]
    version: int = 1
    by: str = ""

    def of(self, part: object) -> Collection[T]:
        """Return the collection for one model or partition of a kind that has one for each.

        Examples
        --------
        >>> windows = Collection("windows", bytes, "nobody", bytes, bytes, by="model")
        >>> windows.of("fraud:3").name
        'windows/fraud:3'
        """
        if not self.by:
            raise TypeError(f"{self.name} is one collection: it has none for {part}")
        return replace(self, name=f"{self.name}/{part}", by="")

    def get(self, store: Store, key: str) -> T | None:
        """Return a record, None when there is none."""
        data = store.get(self.name, key)
        return None if data is None else self.load(data)

    def has(self, store: Store, key: str) -> bool:
        """Return whether there is a record."""
        return store.get(self.name, key) is not None

    def get_many(self, store: Store, keys: Sequence[str]) -> dict[str, T]:
        """Return those of the records `keys` that are there, by key."""
        return {key: self.load(data) for key, data in store.get_many(self.name, keys).items()}

    def items(self, store: Store) -> Iterator[tuple[str, T]]:
        """Yield every record with its key, in the order of the keys."""
        for key, data in store.items(self.name):
            yield key, self.load(data)

    def values(self, store: Store) -> Iterator[T]:
        """Yield every record, in the order of the keys."""
        return (record for _, record in self.items(store))

    def keys(self, store: Store) -> Iterator[str]:
        """Yield every key, in order, without reading a record."""
        return (key for key, _ in store.items(self.name))

    def stamped(self, store: Store) -> Iterator[tuple[str, int, Callable[[], T]]]:
        """Yield every key with a hash of its bytes and what reads the record: for who keeps what they worked out.

        A hash means something in this process only.
        """
        for key, data in store.items(self.name):
            yield key, hash(data), partial(self.load, data)

    def count(self, store: Store) -> int:
        """Return how many records there are."""
        return store.count(self.name)

    def put(self, batch: Batch, key: str, record: T) -> Batch:
        """Set a record with `batch`, which is returned."""
        return batch.put(self.name, key, self.dump(record))

    def add(self, batch: Batch, key: str, record: T) -> Batch:
        """Set a record with `batch` unless there is one already; return the batch."""
        return batch.add(self.name, key, self.dump(record))

    def delete(self, batch: Batch, *keys: str) -> Batch:
        """Remove records with `batch`, which is returned; removing what is not there is harmless."""
        for key in keys:
            batch.delete(self.name, key)
        return batch


def declare(collection: Collection[T]) -> Collection[T]:
    """Remember a collection as one of the store's; return it.

    Raises
    ------
    ValueError
        Another one has its name.
    """
    if collection.name in _declared:
        raise ValueError(f"collection {collection.name!r} is declared twice: use the one declaration")
    _declared[collection.name] = collection
    return collection


def events(name: str, record: type[T], *, writer: str) -> Collection[T]:
    """Declare a collection of dataclasses, which are kept by field name as events are."""
    return declare(Collection(name, record, writer, dump, partial(load, record), VERSION))


def plain(
    name: str,
    record: type[T],
    *,
    writer: str,
    write: Callable[[T], Any],
    read: Callable[[Any], T],
    version: int = 1,
    by: str = "",
) -> Collection[T]:
    """Declare a collection of which `write` makes plain values (MessagePack) and `read` the records again."""
    collection = Collection(
        name,
        record,
        writer,
        lambda one: dump_any(write(one)),
        lambda data: read(load_any(data)),
        version,
        by,
    )
    return declare(collection)


def marks(name: str, *, writer: str) -> Collection[bytes]:
    """Declare a collection of which bytes are kept as they are: marks, digests, secrets."""
    return declare(Collection(name, bytes, writer, bytes, bytes))


def declared() -> Mapping[str, Collection[Any]]:
    """Return every collection that the modules imported so far declare, by name."""
    return MappingProxyType(_declared)


def declaration(name: str) -> Collection[Any] | None:
    """Return how the collection of this name is declared, None when it is not.

    Examples
    --------
    >>> declaration("no/such") is None
    True
    """
    if name in _declared:
        return _declared[name]
    kind, _, part = name.partition("/")
    found = _declared.get(kind)
    return found.of(part) if found is not None and found.by else None
