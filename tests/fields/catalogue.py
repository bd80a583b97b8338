"""All kinds of value, in the order of the page."""

from __future__ import annotations

from typing import Final

from .kinds import Kind
from .kinds_containers import CONTAINERS
from .kinds_libraries import LIBRARIES
from .kinds_scalars import SCALARS

KINDS: Final[tuple[Kind, ...]] = (*SCALARS, *CONTAINERS, *LIBRARIES)
