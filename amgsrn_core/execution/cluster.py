"""An executor whose workers are those of a Dask cluster that is running already."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from typing import Any

from amgsrn_core.errors import ConfigurationError, DeviceLostError
from amgsrn_core.system.extras import require

_log = logging.getLogger(__name__)

_CONNECT_SECONDS = 20
_RESTART_SECONDS = 60
_DEVICE_LOST = 75


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
    distributed = require("distributed", "Training on a cluster")
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
        self._remote: weakref.WeakKeyDictionary[Future[Any], Any] = weakref.WeakKeyDictionary()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run ``fn(*args, **kwargs)`` on a worker of the cluster."""
        future: Future[Any] = Future()
        with self._lock:
            if self._client.status in ("closed", "closing"):
                self._client = self._connect()
            remote = self._client.submit(_call, fn, *args, pure=False, **kwargs)
        self._remote[future] = remote
        remote.add_done_callback(functools.partial(_pass_on, future))
        return future

    def abandon(self, future: Future[Any]) -> bool:
        """Forget a call, and have the worker that hangs with it replaced; return False at once.

        Where the worker has a nanny, that ends the process and starts another one. Where it has
        none, the scheduler gives it no more work, and it ends by itself if it ever wakes up.
        """
        remote = self._remote.pop(future, None)
        if remote is not None:
            thread = threading.Thread(target=_replace_worker, args=(self._client, remote))
            thread.daemon = True  # what hangs may hold it up
            thread.start()
        return False

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Leave the cluster, which goes on; calls that nobody waits for are dropped."""
        with contextlib.suppress(Exception):
            self._client.close(timeout=5)


def _call(fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    """Do a call on a worker; a worker whose GPU is lost ends, and the call goes to another one."""
    try:
        return fn(*args, **kwargs)
    except DeviceLostError:
        _log.exception("This worker's process ends, because its GPU cannot be used any more")
        os._exit(_DEVICE_LOST)  # a nanny starts another one


def _pass_on(future: Future[Any], remote: Any) -> None:
    """Pass a result of the cluster on to who waits for it, unless nobody does any more."""
    if not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(remote.result())
    except BaseException as error:  # also that the scheduler is gone
        future.set_exception(error)


def _replace_worker(client: Any, remote: Any) -> None:
    """End, or at least retire, the worker that a call is on; drop the call."""
    with contextlib.suppress(Exception):  # no scheduler: then it is found out otherwise
        found = [worker for worker, keys in client.processing().items() if remote.key in keys]
        remote.cancel()
        for address in found:
            _log.warning("The worker %s does not answer any more; it is replaced.", address)
            try:
                client.restart_workers([address], timeout=_RESTART_SECONDS, raise_for_error=False)
            except ValueError:  # it has no nanny
                client.sync(
                    client.scheduler.unregister, address=address, stimulus_id="amgsrn-hanging"
                )
