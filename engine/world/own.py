"""A process's own clock and random bytes, for what is opened without a whole world."""

import os
import time
from collections.abc import Callable
from typing import Final

clock: Final[Callable[[], float]] = time.time
random_bytes: Final[Callable[[int], bytes]] = os.urandom
