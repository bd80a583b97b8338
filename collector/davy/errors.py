"""Every error Davy raises, in one tree.

::

    DavyError
    ├── SettingError         a setting, URL or option is wrong
    ├── InvalidInference     a captured value cannot travel
    ├── DecodeError          bytes are not an envelope or event we can read
    ├── LogError             the log refused, or cannot say whether it accepted
    │   └── Refused          the log will never take this message
    ├── StoreError           the store refused
    │   └── LeaseLost        another owner holds the lease; nothing was written
    ├── BlobError            a payload cannot be stored or found
    ├── ArchiveError         a file of the archive cannot be written
    ├── ReferenceInvalid     a reference cannot be fitted, found or applied
    ├── PluginFailed         a plug-in gave what its contract does not allow
    │   └── AggregateInvalid an aggregate is not what it says, or cannot be merged
    ├── LabelError           the labelling tool refused or answered nonsense
    ├── DatasetError         a dataset version cannot be built or read
    └── OutputError          what a command prints cannot be written

None of them leaves the SDK: there they are counted, by reason. On a server each names the field, the
value and the remedy; the gateway answers 4xx with it, the CLI prints it on one line and exits with 2.
"""

from davy._urls import without_password


class DavyError(Exception):
    """The root of the tree: catching it catches everything Davy raises on purpose.

    Parameters
    ----------
    field
        What was wrong: a setting, a field of an inference, a file.
    value
        What was found there. Shown shortened, and without the password of a URL; never a payload or a secret.
    remedy
        What to do about it, as an instruction.

    Examples
    --------
    >>> raise DavyError("DAVY_URL", "ftp://x", "use sqlite:///path, memory:// or http://host:port")
    Traceback (most recent call last):
    davy.errors.DavyError: DAVY_URL: 'ftp://x': use sqlite:///path, memory:// or http://host:port
    """

    def __init__(self, field: str, value: object, remedy: str) -> None:
        value = without_password(value) if isinstance(value, str) else value
        shown = without_password(repr(value))
        if len(shown) > 120:
            shown = f"{shown[:117]}..."
        super().__init__(f"{field}: {shown}: {without_password(remedy)}")
        self.field = field
        self.value = value
        self.remedy = remedy


class SettingError(DavyError):
    """A setting, URL or option is wrong."""


class InvalidInference(DavyError):
    """A captured value cannot travel."""


class DecodeError(DavyError):
    """Bytes are not an envelope or event this version can read."""


class LogError(DavyError):
    """The log refused, or cannot say whether it accepted."""


class LogReplaced(LogError):
    """Another log took the place of the one that was read; a consumer that is opened now reads that."""


class Refused(LogError):
    """The log will never take this message: sending it again is of no use."""


class StoreError(DavyError):
    """The store refused."""


class LeaseLost(StoreError):
    """Another owner holds the lease; nothing was written."""


class BlobError(DavyError):
    """A payload cannot be stored or found."""


class ArchiveError(DavyError):
    """A file of the archive cannot be written."""


class ReferenceInvalid(DavyError):
    """A reference cannot be fitted, found or applied."""


class PluginFailed(DavyError):
    """A plug-in gave what its contract does not allow."""


class AggregateInvalid(PluginFailed):
    """An aggregate is not what it says, or cannot be merged with another of its monitor."""


class LabelError(DavyError):
    """The labelling tool refused or answered nonsense."""


class DatasetError(DavyError):
    """A dataset version cannot be built or read."""


class OutputError(DavyError):
    """What a command prints cannot be written."""
