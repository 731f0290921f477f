"""Pictures of a model as Neural Volume and as ParaView's Volume of its values, many ways."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import paraview.simple as pv
from neural_scene import NEURAL, PEAKS, Scene, load
from session import arguments, save

from amgsrn_core.kernels.march import VolumeKernel

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


def blend(mode):
    if is_neural:
        display.NeuralBlendMode = mode
    else:
        display.BlendMode = mode


def shade(on):
    if is_neural:
        display.NeuralShade = on
    else:
        display.Shade = on


marched: list[int] = []
march = VolumeKernel.march


def counted(kernel, look, view, pixels, rgba):
    marched.append(rgba.size)
    return march(kernel, look, view, pixels, rgba)


VolumeKernel.march = counted

for is_neural in (True, False):
    scene = Scene(neural() if is_neural else values(), NEURAL if is_neural else "Volume")
    display = scene.display
    take("perspective", scene)
    display.NeuralSamplesPerVoxel = 1.0
    take("single", scene)
    display.NeuralSamplesPerVoxel = 3.0
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
    before = len(marched)
    take("empty", scene)
    if is_neural:
        kernel_calls = [before, len(marched) - before]
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

    special = Scene(scene.source, NEURAL if is_neural else "Volume")
    special.clip([0.5, 0.3, 1.0], [14.0, 13.0, 9.0])
    special.clip([0.0, -1.0, 0.0], [0.0, 20.5, 0.0])
    take("clipped", special)
    special.mapper().RemoveAllClippingPlanes()
    if is_neural:
        special.display.NeuralBlendMode = "Maximum Intensity"
    else:
        special.mapper().SetBlendModeToMaximumIntensity()  # ParaView 5.11 does not offer it
    take("maximum", special)
    pv.Delete(special.view)
    shade(1)
    take("shaded", scene)
    # One lamp from aside instead of the five of ParaView's light kit.
    scene.view.UseLight = 0
    light = pv.AddLight(scene.view)
    light.Position, light.DiffuseColor, light.Intensity = [1.0, 2.0, 0.0], [1.0, 0.6, 0.3], 0.8
    take("lamp", scene)
    pv.RemoveLight(light)
    scene.view.UseLight = 1
    shade(0)

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
        display.NeuralIsosurfaceValues = [4.0]
    else:
        display.IsosurfaceValues = [4.0]
    blend("Isosurface")
    shade(1)
    scene.opacity.Points = [0.0, 1.0, 0.5, 0.0, 10.0, 1.0, 0.5, 0.0]
    take("isosurface", scene)
    shade(0)
    if is_neural:
        take("contour", scene)
    else:
        surface = pv.Contour(Input=scene.source, ContourBy=["POINTS", "density"], Isosurfaces=[4.0])
        display.Visibility = 0
        shown = pv.Show(surface, scene.view)
        pv.ColorBy(shown, None)
        scene.colors.SMProxy.GetClientSideObject().GetColor(4.0, color)
        shown.AmbientColor, shown.Ambient, shown.Diffuse = color, 1.0, 0.0
        take("contour", scene)
        pv.Hide(surface, scene.view)
        display.Visibility = 1
    scene.opacity.Points = PEAKS
    if is_neural:
        blend("Composite")
        # The same colour map once more, but with nodes enough to do without the logarithm.
        scene.colors.RGBPoints = logarithmic
        take("resampled", scene)

    # Windows of 0 x 0 pixels are refused by X; a renderer's part of one may be as small as that.
    scene.view.GetRenderer().SetViewport(0.5, 0.5, 0.5, 0.5)
    pv.Render(scene.view)
    scene.view.GetRenderer().SetViewport(0.0, 0.0, 1.0, 1.0)
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

save(seconds=seconds, peeling=peeling, status=status, kernel_calls=kernel_calls)
