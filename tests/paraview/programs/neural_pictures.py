"""Pictures of a model as Neural Volume and as ParaView's Volume of its values, many ways."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import paraview.simple as pv
from neural_scene import NEURAL, PEAKS, Scene, load
from session import arguments, save

folder = Path(arguments()[0])
names = load()
seconds: dict[str, float] = {}
peeling: list[bool] = []


def neural(model="even"):
    return names.AMGSRNReader(FileName=str(folder / f"{model}.amgsrn"))


def values(model="even", **options):
    return names.AMGSRNReconstructionSource(
        FileName=str(folder / f"{model}.amgsrn"), ScaleFactor=2.0, **options
    )


def take(name, scene, **options):
    start = time.perf_counter()
    scene.save(folder / f"{name}-{'neural' if is_neural else 'volume'}.png", **options)
    if is_neural:
        seconds[name] = time.perf_counter() - start


for is_neural in (True, False):
    scene = Scene(neural() if is_neural else values(), NEURAL if is_neural else "Volume")
    display = scene.display
    take("perspective", scene)
    take("transparent", scene, TransparentBackground=1)
    take("tiled", scene, ImageResolution=[400, 300])

    scene.look_from([70.0, 50.0, 80.0], parallel=True)
    take("parallel", scene)
    scene.look_from([14.0, 13.0, 30.0])
    take("inside", scene)
    scene.look_from([70.0, 50.0, 80.0])

    scene.opacity.Points = [0.0, 1.0, 0.5, 0.0, 10.0, 1.0, 0.5, 0.0]
    take("opaque", scene)
    scene.opacity.Points = [0.0, 0.0, 0.5, 0.0, 10.0, 0.0, 0.5, 0.0]
    take("empty", scene)
    scene.opacity.Points = PEAKS

    if is_neural:
        display.NeuralUseCropping = 1
        display.NeuralCroppingOrigin = [3.0, 0.0, 6.0]
        display.NeuralCroppingScale = [0.5, 1.0, 0.5]
        take("cropped", scene)
        display.NeuralUseCropping = 0
    else:
        # Not by Volume's own cropping: in ParaView 5.13 its box is off for some voxels that are
        # not 1 wide.
        box = Scene(values(Region="Index Extent", IndexExtent=[3, 17, 0, 26, 6, 17]), "Volume")
        take("cropped", box)
        pv.Delete(box.view)

    scene.colors.RescaleTransferFunction(0.5, 10.0)
    scene.colors.UseLogScale = 1
    take("logarithmic", scene)
    table = scene.colors.SMProxy.GetClientSideObject()
    logarithmic, color = [], [0.0, 0.0, 0.0]
    for value in np.geomspace(0.5, 10.0, 200):
        table.GetColor(value, color)
        logarithmic += [value, *color]
    scene.colors.UseLogScale = 0
    scene.colors.RescaleTransferFunction(0.0, 10.0)
    scene.opacity.Points = PEAKS

    # Balls in front of the volume, inside and behind.
    balls = [
        scene.add_ball(center, radius)
        for center, radius in (([36, 26, 36], 3.0), ([16, 13, 11], 5.0), ([2, 4, -14], 6.0))
    ]
    take("occluded", scene)
    pv.Hide(scene.source, scene.view)
    take("hidden", scene)
    pv.Show(scene.source, scene.view)
    for ball in balls:
        ball.Opacity = 0.5
    take("translucent", scene)
    peeling.append(scene.view.GetRenderer().GetUseDepthPeelingForVolumes())
    for ball in balls:
        ball.Visibility = 0

    if is_neural:
        take("again", scene)
        display.NeuralBlendMode = "Isosurface"
        display.NeuralIsosurfaceValues = [5.0]
        display.NeuralShade = 1
    else:
        display.BlendMode = "Isosurface"
        display.IsosurfaceValues = [5.0]
        display.Shade = 1
    scene.opacity.Points = [0.0, 1.0, 0.5, 0.0, 10.0, 1.0, 0.5, 0.0]
    take("isosurface", scene)
    scene.opacity.Points = PEAKS
    if is_neural:
        display.NeuralBlendMode = "Composite"
        display.NeuralShade = 0
        # The same colour map once more, but with nodes enough to do without the logarithm.
        scene.colors.RGBPoints = logarithmic
        take("resampled", scene)

    for size in ([1, 1], [3, 1]):
        scene.view.ViewSize = size
        pv.Render(scene.view)
    if is_neural:
        status = scene.status()
    pv.Delete(scene.view)

    for model, array in (("vector", "density"), ("both", "salinity"), ("uneven", "density")):
        source = neural(model) if is_neural else values(model)
        if model == "uneven" and not is_neural:
            # ParaView's volumes on uneven axes are not exact.
            source = pv.ResampleToImage(Input=source, SamplingDimensions=[87, 81, 89])
        scene = Scene(source, NEURAL if is_neural else "Volume", array)
        take(model, scene)
        if model == "vector":
            scene.colors.VectorMode = "Component"
            scene.colors.VectorComponent = 1
            take("component", scene)
            scene.colors.VectorMode = "Magnitude"
        pv.Delete(scene.view)

save(seconds=seconds, peeling=peeling, status=status)
