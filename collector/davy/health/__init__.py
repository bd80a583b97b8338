"""Whether work gets done: one set of findings, which ``/readyz``, `davy doctor` and the metrics share.

What is claimed is tested: log, store and blobs are written, SQLite files are looked over, the disks asked are those
that the files lie on, and a role is well when it gets on, not when it runs. Other rooms add findings by the entry point
group ``davy.health``: functions of a runtime, named as the role they are about, cheap enough to be asked every few
seconds. One named ``ROLE.SERVICE`` is about what others run beside the role: however wrong, it is a warning for a
process that can do without.
"""

from davy.health.check import Check, State, attempt, told_once, trouble
from davy.health.status import Status, read_status
from davy.health.watch import Health

__all__ = ["Check", "Health", "State", "Status", "attempt", "read_status", "told_once", "trouble"]
