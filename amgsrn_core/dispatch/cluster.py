"""An executor whose workers are those of a Dask cluster that is running already."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from typing import Any

from amgsrn_core.errors import ConfigurationError

_CONNECT_SECONDS = 20


@contextlib.contextmanager
def cluster_executor(scheduler: str) -> Iterator[ClusterExecutor]:
    """Yield an executor on the cluster of a scheduler.

    Every worker must see the volume's file and the folder beside the model under the same names,
    and have this package.

    Parameters
    ----------
    scheduler : str
        Address ("tcp://node17:8786") or the file that ``dask scheduler --scheduler-file`` writes.

    Raises
    ------
    ConfigurationError
        ``dask.distributed`` is not installed, or nobody answers.
    """
    try:
        import distributed
    except ImportError as error:
        raise ConfigurationError(
            "Training on a cluster needs dask.distributed; install it with `pip install "
            "'amgsrn[cluster]'`."
        ) from error
    is_file = os.path.exists(scheduler)
    where = {"scheduler_file": scheduler} if is_file else {"address": scheduler}

    def connect() -> Any:
        return distributed.Client(**where, timeout=_CONNECT_SECONDS, set_as_default=False)

    try:
        executor = ClusterExecutor(connect)
    except (OSError, ValueError, TypeError) as error:  # a time-out is an OSError, too
        raise ConfigurationError(
            f"There is no Dask scheduler at {scheduler} ({str(error) or type(error).__name__}); "
            "give its address or its scheduler file."
        ) from error
    try:
        yield executor
    finally:
        executor.shutdown()


class ClusterExecutor(Executor):
    """Submits calls to a cluster, and connects anew when its scheduler was away.

    Parameters
    ----------
    connect : callable
        Returns a new ``distributed.Client``.
    """

    def __init__(self, connect: Callable[[], Any]) -> None:
        self._connect = connect
        self._lock = threading.Lock()
        self._client = connect()
        self._calls = self._client.get_executor(pure=False)

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run ``fn(*args, **kwargs)`` on a worker of the cluster."""
        with self._lock:
            if self._client.status in ("closed", "closing"):
                self._client = self._connect()
                self._calls = self._client.get_executor(pure=False)
            future: Future[Any] = self._calls.submit(fn, *args, **kwargs)
            return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Leave the cluster, which goes on; calls that nobody waits for are dropped."""
        with contextlib.suppress(Exception):
            self._client.close(timeout=5)
