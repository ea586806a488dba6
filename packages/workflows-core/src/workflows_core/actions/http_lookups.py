"""Look-ups of host names in threads of their own, so that a slow name service keeps nothing else waiting.

The event loop's own threads read secrets and do what else blocks; a look-up there would hold one for as long as
some author's name service likes, whatever time-out the request had.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

MAX_LOOKUPS: Final = 64
"""Look-ups at once. Each holds its thread until the name service has answered, whoever still waits for it."""

MAX_LOOKUPS_EACH: Final = 16
"""Of those, for one tenant, so that names which one has made slow leave room for the others'."""

_OWNER: ContextVar[str] = ContextVar("owner of host name look-ups", default="")

_Addresses = Sequence[str]


@contextmanager
def looked_up_for(tenant_id: str) -> Iterator[None]:
    """Counts look-ups inside the block as the tenant's."""
    token = _OWNER.set(tenant_id)
    try:
        yield
    finally:
        _OWNER.reset(token)


class Lookups:
    """Asks the operating system's name service, a bounded number of times at once; the rest wait in order.

    The threads are daemons and end when there is nothing to do: the exit of the process waits for none.

    Args:
        most: Look-ups at once.
        most_each: Of those, for one tenant.
    """

    def __init__(self, most: int = MAX_LOOKUPS, most_each: int = MAX_LOOKUPS_EACH) -> None:
        self._most = most
        self._most_each = most_each
        self._lock = threading.Lock()
        self._waiting: dict[Future[_Addresses], tuple[str, str, int]] = {}
        self._running: Counter[str] = Counter()
        self._threads = 0

    async def addresses(self, host: str, port: int) -> _Addresses:
        """Addresses of a host. What is cancelled while it waits for a thread is not looked up at all.

        Raises:
            OSError: The host is not known, or the name service does not answer.
            UnicodeError: The name is none.
        """
        asked: Future[_Addresses] = Future()
        with self._lock:
            if self._threads < self._most:
                threading.Thread(target=self._work, name="host name look-up", daemon=True).start()
                self._threads += 1
            self._waiting[asked] = (_OWNER.get(), host, port)
        try:
            return await asyncio.wrap_future(asked)
        finally:
            with self._lock:
                self._waiting.pop(asked, None)

    def _work(self) -> None:
        owner = None
        while True:
            with self._lock:
                if owner is not None:
                    self._running -= Counter((owner,))
                taken = self._next()
                if taken is None:
                    self._threads -= 1
                    return
            asked, owner, host, port = taken
            if not asked.set_running_or_notify_cancel():
                continue
            try:
                found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            except Exception as error:  # whoever asked gets it
                asked.set_exception(error)
            else:
                asked.set_result(list(dict.fromkeys(str(info[4][0]) for info in found)))

    def _next(self) -> tuple[Future[_Addresses], str, str, int] | None:
        """The first one whose tenant has room, the lock held. For every other a thread of its tenant comes back."""
        for asked, (owner, host, port) in self._waiting.items():
            if self._running[owner] < self._most_each:
                del self._waiting[asked]
                self._running[owner] += 1
                return asked, owner, host, port
        return None
