"""Neural Volume without the compiled plugin: pictures beside those of the native marcher.

`hook_pictures.py RESULTS.json FOLDER` with models in the folder; see test_paraview_hook.py.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import paraview.simple as pv
from paraview import servermanager, smtrace
from session import arguments, load_plugin, output_of, save
from vtkmodules.util.numpy_support import vtk_to_numpy
from vtkmodules.vtkCommonCore import vtkFloatArray, vtkUnsignedCharArray

folder = Path(arguments()[0])
names = load_plugin()
found: dict[str, object] = {}
POINTS = [0.0, 0.0, 0.5, 0.0, 1.0, 0.0, 0.5, 0.0, 4.0, 0.5, 0.5, 0.0, 10.0, 0.1, 0.5, 0.0]


class Plain:
    """A volume of ParaView's, whose mapper lacks jitter, as the library reads volumes."""

    def __init__(self, volume):
        self.GetProperty, mapper = volume.GetProperty, volume.GetMapper()
        self.GetMapper = lambda: self
        for name in ("Cropping", "CroppingRegionPlanes", "BlendMode", "ClippingPlanes"):
            setattr(self, f"Get{name}", getattr(mapper, f"Get{name}"))

    def GetUseJittering(self):
        return False


class Picture:
    """A view of a model and a ball, and what the native marcher makes of it."""

    def __init__(self, source, array="density", size=(96, 72), with_ball=True):
        self.source, self.array = source, array
        self.view = pv.CreateView("RenderView")
        self.view.ViewSize = list(size)
        self.view.UseColorPaletteForBackground = 0
        self.view.Background = [0.1, 0.1, 0.2]
        self.view.OrientationAxesVisibility = 0
        self.view.UseFXAA = 0
        self.display = pv.Show(source, self.view)
        self.was_shown_as = str(self.display.Representation).strip("'")
        self.was_coloured_by = list(self.display.ColorArrayName)
        self.display.SetRepresentationType("Neural Volume")
        pv.ColorBy(self.display, ("POINTS", array))
        self.display.SetScalarBarVisibility(self.view, False)
        self.display.ScalarOpacityUnitDistance = 1.0
        pv.GetColorTransferFunction(array).RescaleTransferFunction(0.0, 10.0)
        pv.GetOpacityTransferFunction(array).Points = POINTS
        self.ball = None
        if with_ball:
            ball = pv.Sphere(Center=[16, 13, 11], Radius=6, ThetaResolution=24, PhiResolution=24)
            self.ball = pv.Show(ball, self.view)
            self.ball.ColorArrayName = ["POINTS", ""]
        self.look()

    def look(self, position=(70.0, 50.0, 80.0)):
        pv.Render(self.view)  # the first one resets the camera
        self.view.CameraPosition = list(position)
        self.view.CameraFocalPoint = [14.0, 13.0, 11.0]
        self.view.CameraViewUp = [0.0, 1.0, 0.0]

    @property
    def window(self):
        return self.view.GetRenderWindow()

    def take(self) -> np.ndarray:
        pv.Render(self.view)
        width, height = self.window.GetSize()
        pixels = vtkUnsignedCharArray()
        self.window.GetPixelData(0, 0, width - 1, height - 1, 0, pixels, 0)
        return vtk_to_numpy(pixels).reshape(height, width, 3).astype(float)

    def volume(self):
        """Return the vtkVolume that ParaView would draw."""
        composite = self.display.SMProxy.GetClientSideObject()
        return composite.GetActiveRepresentation().GetActor()

    def expected(self, model, component=0) -> np.ndarray:
        """Return the native marcher's picture of the same scene."""
        from amgsrn_core.rendering import Camera, RenderSettings, render
        from amgsrn_core.vtk import scene

        # The planes that clip the view depend on what is visible, and differ after a frame.
        renderer, to_clip = self.view.GetRenderer(), []
        tag = renderer.AddObserver(
            "EndEvent", lambda *_: to_clip.append(scene.world_to_clip(renderer))
        )
        self.display.Visibility = 0
        without = self.take()
        renderer.RemoveObserver(tag)
        height, width = without.shape[:2]
        depths = vtkFloatArray()
        self.window.GetZbufferData(0, 0, width - 1, height - 1, depths)
        depth = vtk_to_numpy(depths).reshape(height, width).copy()
        self.display.Visibility = 1
        self.take()
        volume = self.volume()
        placement = scene.Placement.of(scene.numbers(volume.GetMatrix()))
        wanted = RenderSettings(component=component)
        settings = scene.settings_of(Plain(volume), renderer, placement, wanted)
        camera = Camera(width, height, to_clip[-1] @ placement.matrix())
        transfer = scene.transfer_of(volume.GetProperty())
        shown = model.scaled(placement.scale)
        rgba = render(shown, camera, transfer, settings, depth=depth, backend="native")
        seen = without * (1 - rgba[..., 3:]) + 255 * rgba[..., :3]
        return np.round(np.minimum(seen, 255))

    def compare(self, name, model, component=0):
        # The depths that ParaView 6 hands out are not those of the frame.
        is_alone = self.ball is not None and pv.GetParaViewVersion() >= (6, 0)
        if is_alone:
            self.ball.Visibility = 0
        expected, picture = self.expected(model, component), self.take()
        apart = np.abs(picture - expected)
        found[name] = [float(apart.mean()), float(apart.max()), float(picture.std())]
        if is_alone:
            self.ball.Visibility = 1
        return self.take()


def differ(one, other):
    return float(np.abs(one - other).max()) if one.shape == other.shape else -1.0


def opened(name):
    from amgsrn_core import NeuralVolume

    return NeuralVolume.open(folder / f"{name}.amgsrn", device="cpu")


def reader(name):
    return names.AMGSRNReader(FileName=str(folder / f"{name}.amgsrn"))


def one_view():
    source, model = reader("even"), opened("even")
    picture = Picture(source)
    found["default"] = picture.was_shown_as
    found["coloured_by"] = picture.was_coloured_by
    found["menu"] = list(picture.display.GetProperty("Representation").Available)
    first = picture.compare("first", model)
    camera = picture.view.GetActiveCamera()
    camera.Azimuth(25)
    found["turned"] = differ(picture.take(), first)
    camera.Azimuth(-25)
    found["back"] = differ(picture.take(), first)
    opacity = pv.GetOpacityTransferFunction("density")
    opacity.Points = [0.0, 0.0, 0.5, 0.0, 10.0, 0.6, 0.5, 0.0]
    picture.compare("other opacity", model)
    colors = pv.GetColorTransferFunction("density")
    before = list(colors.RGBPoints)
    colors.RGBPoints = [0.0, 0.0, 0.0, 0.0, 5.0, 0.0, 0.6, 0.0, 10.0, 1.0, 1.0, 0.0]
    picture.compare("other colours", model)
    colors.RGBPoints, opacity.Points = before, POINTS
    found["again"] = differ(picture.take(), first)
    colors.RescaleTransferFunction(0.5, 10.0)
    colors.UseLogScale = 1
    picture.compare("logarithmic", model)
    colors.UseLogScale = 0
    colors.RescaleTransferFunction(0.0, 10.0)
    colors.RGBPoints, opacity.Points = before, POINTS
    found["linear again"] = differ(picture.take(), first)
    picture.display.Visibility = 0
    hidden = picture.take()
    found["hidden"] = differ(hidden, first)
    picture.display.Visibility = 1
    found["shown"] = differ(picture.take(), first)
    picture.display.SetRepresentationType("Outline")
    found["outline"] = differ(picture.take(), first)
    picture.display.SetRepresentationType("Volume")
    found["volume"] = differ(picture.take(), first)
    picture.display.SetRepresentationType("Neural Volume")
    found["neural again"] = differ(picture.take(), first)
    picture.display.Shade = 1
    picture.compare("lit", model)
    picture.display.Shade = 0
    moved = "Translation" if hasattr(picture.display, "Translation") else "Position"
    setattr(picture.display, moved, [3.0, -2.0, 1.0])
    picture.display.Scale, picture.display.Orientation = [1.0, 0.7, 1.2], [0.0, 30.0, 10.0]
    picture.compare("moved", model)
    setattr(picture.display, moved, [0.0, 0.0, 0.0])
    picture.display.Scale, picture.display.Orientation = [1.0, 1.0, 1.0], [0.0, 0.0, 0.0]
    picture.view.CameraParallelProjection = 1
    picture.view.CameraParallelScale = 20.0
    picture.compare("parallel", model)
    picture.view.CameraParallelProjection = 0
    picture.view.ViewSize = [120, 60]
    picture.compare("larger", model)
    picture.view.ViewSize = [96, 72]
    found["as before"] = differ(picture.take(), first)
    peeling = picture.view.GetRenderer().GetUseDepthPeelingForVolumes()
    picture.ball.Opacity = 0.5
    translucent = picture.take()
    found["translucent"] = differ(translucent, first)
    found["peeling"] = [peeling, picture.view.GetRenderer().GetUseDepthPeelingForVolumes()]
    picture.ball.Opacity = 1.0
    return picture, first, hidden


def faults(picture):
    """Replace, damage and delete what is shown."""
    from amgsrn_paraview import datasets

    source, model = picture.source, folder / "even.amgsrn"
    kept = folder / "kept.amgsrn"
    shutil.copyfile(model, kept)
    before = picture.take()
    model.unlink()
    found["file gone"] = differ(picture.take(), before)
    shutil.copyfile(folder / "other.amgsrn", model)
    pv.ReloadFiles(source)
    picture.compare("replaced", opened("even"))
    shutil.copyfile(kept, model)
    pv.ReloadFiles(source)
    found["put back"] = differ(picture.take(), before)
    data = output_of(source)
    producer = pv.TrivialProducer()
    damaged = data.NewInstance()
    damaged.ShallowCopy(data)
    datasets.set_model(damaged, "nowhere", "damaged")
    datasets.set_network(damaged, b"no network at all")
    producer.SMProxy.GetClientSideObject().SetOutput(damaged)
    bad = Picture(producer)
    found["damaged"] = float(bad.take().std())
    for thing in (bad.display, bad.source, bad.view):
        pv.Delete(thing)


def two_views(first_view):
    """A second view that opens later, and another model in it."""
    before = first_view.take()
    second = Picture(first_view.source)
    found["second view"] = differ(second.take(), before)
    other = pv.Show(reader("vector"), second.view)
    other.SetRepresentationType("Neural Volume")
    pv.ColorBy(other, ("POINTS", "u_v_w"))
    both = second.take()
    found["both"] = differ(both, before)
    pv.Delete(second.view)
    found["first view"] = differ(first_view.take(), before)


def components():
    model = opened("vector")
    picture = Picture(reader("vector"), "u_v_w", with_ball=False)
    colors = pv.GetColorTransferFunction("u_v_w")
    colors.VectorMode = "Magnitude"
    picture.compare("magnitude", model, "magnitude")
    colors.VectorMode, colors.VectorComponent = "Component", 1
    picture.compare("component", model, 1)
    pv.Delete(picture.view)


def series():
    model = opened("series")
    picture = Picture(reader("series"), with_ball=False)
    times = list(picture.source.TimestepValues)
    shots = []
    for step in (0, 2, 1, 0):
        picture.view.ViewTime = times[step]
        shots.append(picture.compare(f"step {step}", model.at(step)))
    found["steps"] = [differ(shots[0], shots[1]), differ(shots[0], shots[3])]
    pv.Delete(picture.view)


def calculated(first_view):
    """A filter's output: the network where its array is shown, the values of others."""
    before = first_view.take()
    calculator = pv.Calculator(Input=first_view.source, Function="density * 2")
    picture = Picture(calculator)
    found["calculated"] = differ(picture.take(), before)
    pv.ColorBy(picture.display, ("POINTS", "Result"))
    found["own array"] = differ(picture.take(), before)
    pv.ColorBy(picture.display, ("POINTS", "density"))
    found["network again"] = differ(picture.take(), before)
    for thing in (picture.display, calculator, picture.view):
        pv.Delete(thing)


def trained():
    """What a finished trainer shows."""
    trainer = names.AMGSRNTrainer(
        Input=pv.Wavelet(WholeExtent=[-6, 6] * 3), OutputFile=str(folder / "wave.amgsrn")
    )
    trainer.Grids, trainer.GridShape, trainer.Width = 4, [6, 6, 6], 16
    trainer.Iterations, trainer.Batch = 30, 2048
    trainer.UpdatePipeline()
    picture = Picture(trainer, "RTData", with_ball=False)
    picture.view.CameraPosition, picture.view.CameraFocalPoint = [20, 15, 25], [0, 0, 0]
    picture.compare("trained", opened("wave"))
    for thing in (picture.display, trainer, picture.view):
        pv.Delete(thing)


def screenshots(picture):
    """In the window's size and another one, in full quality."""
    for number, size in enumerate(([96, 72], [200, 150])):
        pv.SaveScreenshot(str(folder / f"shot{number}.png"), picture.view, ImageResolution=size)


smtrace.start_trace()
picture, first, hidden = one_view()
found["trace"] = smtrace.stop_trace()
faults(picture)
calculated(picture)
two_views(picture)
components()
series()
trained()
screenshots(picture)
first = picture.take()
picture.display.Visibility = 0
hidden = picture.take()
picture.display.Visibility = 1
servermanager.SaveState(str(folder / "state.pvsm"))
pv.Delete(picture.display)
pv.Delete(picture.source)
found["deleted"] = differ(picture.take(), hidden)
pv.ResetSession()
pv.LoadState(str(folder / "state.pvsm"))
restored = Picture.__new__(Picture)
restored.view = next(view for view in pv.GetViews() if list(view.ViewSize) == [96, 72])
found["restored"] = differ(restored.take(), first)
pv.Delete(restored.view)
save(**found)
