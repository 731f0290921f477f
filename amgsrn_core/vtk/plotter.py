"""Models in PyVista's plotters."""

from __future__ import annotations

import os
from typing import Any

from amgsrn_core.field.neural_volume import NeuralVolume
from amgsrn_core.rendering.settings import RenderSettings
from amgsrn_core.rendering.transfer import TransferFunction
from amgsrn_core.vtk.prop import NeuralVolumeProp


def add_neural_volume(
    plotter: Any,
    model: NeuralVolume | str | os.PathLike[str],
    transfer: TransferFunction | None = None,
    settings: RenderSettings | None = None,
    *,
    name: str | None = None,
    **options: Any,
) -> NeuralVolumeProp:
    """Add a model to a pyvista.Plotter.

    Parameters
    ----------
    plotter : pyvista.Plotter
        The model goes into the renderer that is active.
    model, transfer, settings, **options
        See :class:`NeuralVolumeProp`.
    name : str, optional
        For ``plotter.remove_actor``; one of the same name is replaced.

    Returns
    -------
    NeuralVolumeProp
        Its `volume` is the actor.
    """
    prop = NeuralVolumeProp(model, transfer, settings, **options)
    plotter.add_actor(prop.volume, name=name)
    prop.observe(plotter.renderer)
    return prop
