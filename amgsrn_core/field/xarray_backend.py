"""What lets xarray open a model by itself: ``xarray.open_dataset("ocean.amgsrn")``."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

from xarray import conventions
from xarray.backends import BackendEntrypoint

from amgsrn_core.field.open_models import open_model


class ModelBackend(BackendEntrypoint):
    """Opens model files as data sets that are sampled when they are used.

    xarray finds it by the entry point "amgsrn".
    """

    description = "Open neural models (.amgsrn) in xarray"
    url = ""

    def open_dataset(  # type: ignore[override]
        self,
        filename_or_obj: Any,
        *,
        drop_variables: str | Iterable[str] | None = None,
        decode_times: Any = True,
        decode_timedelta: Any = None,
        use_cftime: bool | None = None,
        device: str = "auto",
        backend: str = "auto",
    ) -> Any:
        """Open a model; `device` and `backend` are those of :meth:`NeuralVolume.open`."""
        model = open_model(os.fspath(filename_or_obj), device, backend=backend)
        dropped = [drop_variables] if isinstance(drop_variables, str) else drop_variables or ()
        options: dict[str, Any] = {"decode_timedelta": decode_timedelta}
        if use_cftime is not None:
            options["use_cftime"] = use_cftime
        dataset = model.to_xarray(decode_times=False).drop_vars(dropped, errors="ignore")
        return conventions.decode_cf(
            dataset, mask_and_scale=False, decode_times=decode_times, **options
        )

    def guess_can_open(self, filename_or_obj: Any) -> bool:
        """Tell whether a name is that of a model."""
        try:
            return os.fspath(filename_or_obj).endswith(".amgsrn")
        except (TypeError, AttributeError):
            return False
