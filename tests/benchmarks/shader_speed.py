"""Measure how fast OpenGL draws a network in a window of VTK, without a screen where EGL is there.

    python tests/benchmarks/shader_speed.py [MODEL] [--json FILE] [--pictures FOLDER]

Needs VTK (`pip install 'amgsrn[vtk]'`). For each look and size: seconds of the first frame, which
compiles the shader and sends the textures, of the frames of a turning camera (median and slowest),
and of a drag; million samples a second, by the samples on the rays; what parts the first picture
and a slow one were drawn in; beside it the CPU kernels' seconds for the same picture and the
difference in levels of 255. Without MODEL a network is trained on `amgsrn example turbulence`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from vtkmodules.util.numpy_support import vtk_to_numpy
from vtkmodules.vtkCommonCore import vtkUnsignedCharArray, vtkVersion
from vtkmodules.vtkRenderingCore import vtkRenderer, vtkRenderWindow

from amgsrn_core import NetworkConfig, NeuralVolume, TrainingConfig
from amgsrn_core.cli.doctor.machine import machine
from amgsrn_core.kernels import load
from amgsrn_core.rendering import Camera, RenderSettings, TransferFunction, render
from amgsrn_core.rendering.png import write_png
from amgsrn_core.rendering.samples import Samples
from amgsrn_core.vtk import NeuralVolumeProp, parts, scene

Row = dict[str, Any]

SIZES = [(640, 480), (1000, 700), (1920, 1080)]
LOOKS = ("fog", "peak", "lit", "maximum", "surface")
ANGLE = 7.0  # degrees between two frames
_PARTS = parts.Parts


class Window:
    """A window without a screen in which a model is seen.

    Parameters
    ----------
    model : NeuralVolume
    look : str
    size : pair of int
        Pixels.
    options : dict
        Of RenderSettings.
    """

    def __init__(self, model: NeuralVolume, look: str, size: tuple[int, int], **options: Any):
        self.model, self.size, self.transfer = model, size, transfer_of(model, look)
        self.renderer, self.window = vtkRenderer(), vtkRenderWindow()
        self.window.SetOffScreenRendering(1)
        self.window.SetMultiSamples(0)
        self.window.SetSize(*size)
        self.window.AddRenderer(self.renderer)
        self.prop = NeuralVolumeProp(model, self.transfer, settings_of(model, look, options))
        bounds = np.reshape(model.geometry.bounds, (3, 2))
        middle, reach = bounds.mean(axis=1), float(np.linalg.norm(np.ptp(bounds, axis=1)))
        camera = self.renderer.GetActiveCamera()
        camera.SetFocalPoint(middle.tolist())
        camera.SetPosition((middle + reach * np.array([0.8, 0.5, 1.1])).tolist())
        self.renderer.ResetCameraClippingRange(model.geometry.bounds)
        self.frame()  # an empty one, of what every window needs
        self.prop.attach(self.renderer)

    def frame(self) -> float:
        """Return the seconds of a frame."""
        start = time.perf_counter()
        self.window.Render()
        self.window.WaitForCompletion()
        return time.perf_counter() - start

    def turn(self) -> None:
        """Turn the camera a little."""
        self.renderer.GetActiveCamera().Azimuth(ANGLE)

    def picture(self) -> np.ndarray:
        """Return the window's colours, float64 [height, width, 3] of 0 to 255, from the bottom."""
        pixels, (width, height) = vtkUnsignedCharArray(), self.size
        self.window.GetPixelData(0, 0, width - 1, height - 1, 0, pixels, 0)
        return vtk_to_numpy(pixels).reshape(height, width, 3).astype(float)

    def camera(self) -> tuple[Camera, RenderSettings]:
        """Return what the kernels need to draw the same."""
        placement = scene.Placement.of(scene.numbers(self.prop.volume.GetMatrix()))
        settings = scene.settings_of(self.prop.volume, self.renderer, placement, self.prop.settings)
        return Camera(*self.size, scene.world_to_clip(self.renderer)), settings


def transfer_of(model: NeuralVolume, look: str) -> TransferFunction:
    """Return a look's colours: a peak of opacity, unless it is fog."""
    ramp = np.linspace(0, 1, 256)
    opacity = (
        0.02 + 0.03 * ramp if look == "fog" else np.clip(0.9 - np.abs(ramp - 0.65) / 0.1, 0, 1)
    )
    low, high = model.index.value_minimum[0], model.index.value_maximum[0]
    return TransferFunction(low, high, np.stack([ramp, 1 - ramp, 0.5 + 0 * ramp, opacity], axis=1))


def settings_of(model: NeuralVolume, look: str, options: Row) -> RenderSettings:
    """Return a look's settings."""
    low, high = model.index.value_minimum[0], model.index.value_maximum[0]
    options = {"shade": look == "lit", **options}
    if look == "maximum":
        options["blend"] = "maximum"
    if look == "surface":
        options |= {"blend": "isosurface", "isovalues": (0.4 * low + 0.6 * high,), "shade": True}
    return RenderSettings(**options)


def measure(model: NeuralVolume, look: str, size: tuple[int, int], repetitions: int) -> Row:
    """Return seconds of the first frame, of others and of a drag, and the kernels' beside them."""
    taken = _record_parts()
    made = Window(model, look, size)
    row = {"look": look, "size": size, "first_seconds": made.frame(), "first_parts": taken.copy()}
    row["status"] = made.prop.status
    seconds = []
    for _ in range(repetitions):
        made.turn()
        seconds.append(made.frame())
    row |= {"seconds": statistics.median(seconds), "slowest_seconds": max(seconds)}
    camera, settings = made.camera()
    count = int(Samples.on_rays(camera.rays(), model.geometry, settings).count.sum())
    row["samples_per_second"] = count / seconds[-1]
    picture = made.picture()
    made.window.SetDesiredUpdateRate(10.0)
    drag = []
    for _ in range(repetitions):
        made.turn()
        drag.append(made.frame())
    row |= {"drag_seconds": statistics.median(drag), "slowest_drag_seconds": max(drag)}
    row["drag_pixels_per_ray"] = made.prop.volume.GetMapper().GetImageSampleDistance() ** 2
    if load() is not None and size != SIZES[-1]:
        start = time.perf_counter()
        drawn = render(model, camera, made.transfer, settings, backend="native")
        row["native_seconds"] = time.perf_counter() - start
        apart = np.abs(picture - np.minimum(255 * drawn[..., :3], 255))
        row |= {"mean_difference": float(apart.mean()), "most_difference": float(apart.max())}
        row["pixels_over_2"] = int((apart.max(axis=2) > 2).sum())
    made.prop.detach(made.renderer)
    return row | {"picture": picture}


def slow(model: NeuralVolume, size: tuple[int, int]) -> Row:
    """Return what parts a picture is drawn in that takes long."""
    taken = _record_parts()
    made = Window(model, "fog", size, samples_per_voxel=16.0)
    row = {"look": "fog, 16 samples per voxel", "size": size, "first_seconds": made.frame()}
    row["first_parts"] = taken.copy()
    taken.clear()
    made.turn()
    row |= {"seconds": made.frame(), "parts": taken.copy(), "status": made.prop.status}
    made.prop.detach(made.renderer)
    return row


def _record_parts() -> list[tuple[int, float]]:
    """Return a list to which each part is added: its pixels, and the seconds since the one before.

    The first seconds mean nothing.
    """
    taken: list[tuple[int, float]] = []
    last = time.perf_counter()

    class Recorded(_PARTS):
        def take(self, pixels: float) -> parts.Rectangle:
            nonlocal last
            part = super().take(pixels)
            now = time.perf_counter()
            taken.append((part[2] * part[3], now - last))
            last = now
            return part

    parts.Parts = Recorded  # type: ignore[misc]
    return taken


def trained(folder: Path) -> NeuralVolume:
    """Return a model of turbulence."""
    from amgsrn_core import open_volume, train
    from amgsrn_core.volume.examples import write_example

    data = folder / "turbulence.nc"
    write_example("turbulence", data)
    size = NetworkConfig(grid_shape=(16, 16, 16))
    outcome = train(
        open_volume(str(data)), folder / "model.amgsrn", size, TrainingConfig(iterations=1000)
    )
    return NeuralVolume.open(outcome.path, device="cpu")


def rows(model: NeuralVolume, short: bool) -> Iterator[Row]:
    """Yield everything that is measured."""
    wanted = [((64, 48), LOOKS)] if short else zip(SIZES, (LOOKS, LOOKS[:3], LOOKS[1:2]))
    for size, looks in wanted:
        for look in looks:
            yield measure(model, look, size, 2 if short else 5)
    yield slow(model, (64, 48) if short else SIZES[0])


def main() -> int:
    """Measure and report."""
    parser = argparse.ArgumentParser(description="How fast OpenGL draws a network.")
    parser.add_argument("model", nargs="?")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--pictures", type=Path, help="write those of 640 x 480 pixels here")
    parser.add_argument("--short", action="store_true", help="next to nothing, to try the script")
    arguments = parser.parse_args()
    found: list[Row] = []
    results = {"machine": machine(""), "vtk": vtkVersion.GetVTKVersion(), "rows": found}
    with tempfile.TemporaryDirectory() as name:
        model = arguments.model and NeuralVolume.open(arguments.model, device="cpu")
        model = model or trained(Path(name))
        for row in rows(model, arguments.short):
            picture = row.pop("picture", None)
            found.append(row)
            short = {k: v for k, v in row.items() if "parts" not in k}
            print(
                ", ".join(
                    f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in short.items()
                )
            )
            for key in ("first_parts", "parts"):
                if row.get(key):
                    print(
                        f"   {key}: {len(row[key])}, of {[part[0] for part in row[key]][:12]} ..."
                    )
            sys.stdout.flush()
            if arguments.json:
                arguments.json.write_text(json.dumps(results, indent=1) + "\n")
            if arguments.pictures and picture is not None and row["size"] in (SIZES[0], (64, 48)):
                rgb = np.ascontiguousarray(picture[::-1].astype(np.uint8))
                write_png(arguments.pictures / f"{row['look']}.png", rgb)
    return 0


if __name__ == "__main__":
    sys.exit(main())
