"""The models that this process has open, each once for all who look at it."""

from __future__ import annotations

import os
import threading
import weakref
from typing import TYPE_CHECKING

from amgsrn_core.field.content import Content, refuse_gaps
from amgsrn_core.field.devices import chosen_device
from amgsrn_core.field.neural_volume import MEMORY_LIMIT, NeuralVolume
from amgsrn_core.kernels.backend import backend_name
from amgsrn_core.model import Archive, open_archive

if TYPE_CHECKING:
    import torch

_contents: weakref.WeakValueDictionary[tuple[int, str, str, int], Content] = (
    weakref.WeakValueDictionary()
)
_lock = threading.RLock()


def open_model(
    source: Archive | str | os.PathLike[str],
    device: str | torch.device = "auto",
    *,
    backend: str = "auto",
    verify: bool = False,
    memory_limit: int = MEMORY_LIMIT,
    sampling: str = "exact",
) -> NeuralVolume:
    """Open a model like :meth:`NeuralVolume.open`, with one copy for the whole process.

    `source` is a model file, or what :func:`open_archive` returned. All who open the same one for
    the same device and backend share its bricks in memory, what renderers computed of it, and the
    open file; `verify` reads it once. A file that has changed since is opened anew, and what
    others have stays what it was. What nobody has any more is closed. Several threads may call
    this.

    `sampling` says how pictures of it are to be made (:class:`RenderSettings`): for "cached",
    device "auto" is the CPU wherever its kernels compute the model: only they keep decoded blocks,
    and from the second picture on a few cores draw these faster than a GPU draws exact ones.
    """
    with _lock:
        archive = source if isinstance(source, Archive) else open_archive(source)
        if verify:
            archive.verify()
        encoder = archive.index.network.encoder
        is_free = sampling == "cached" and (str(device), backend) == ("auto", "auto")
        if is_free and backend_name("cpu", backend, encoder) == "native":
            device = "cpu"
        selected = chosen_device(device)
        chosen = backend_name(selected, backend, encoder)
        # The content holds the archive, so that no other one has its identity meanwhile.
        key = id(archive), str(selected), chosen, memory_limit
        content = _contents.get(key)
        if content is None:
            refuse_gaps(archive.index, archive.path)
            content = Content(archive.index, archive.load_brick, selected, backend, memory_limit)
            _contents[key] = content
        return NeuralVolume.of_content(content, archive.path, archive.checksum)
