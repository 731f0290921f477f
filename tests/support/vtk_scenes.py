"""Scenes of plain VTK with a neural volume: what they show, as JSON for the tests.

`python vtk_scenes.py MODEL BRICKS UNEVEN LONG RESULT.json` runs in any Python with VTK 9.2 or
later, so it imports nothing of the other tests.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import os
import sys
import weakref

import numpy as np
from vtkmodules.util.numpy_support import vtk_to_numpy
from vtkmodules.vtkCommonCore import vtkFloatArray, vtkObject, vtkUnsignedCharArray, vtkVersion
from vtkmodules.vtkCommonDataModel import vtkPlane, vtkPlaneCollection
from vtkmodules.vtkCommonTransforms import vtkTransform
from vtkmodules.vtkFiltersSources import vtkSphereSource
from vtkmodules.vtkRenderingCore import (
    vtkActor,
    vtkLight,
    vtkPolyDataMapper,
    vtkRenderer,
    vtkRenderWindow,
    vtkWindowToImageFilter,
)

from amgsrn_core import NeuralVolume
from amgsrn_core.rendering import Camera, RenderSettings, TransferFunction, render
from amgsrn_core.vtk import NeuralVolumeProp, network_volume, parts, scene, textures

WIDTH, HEIGHT = 64, 48

STATE = {
    "draw framebuffer": 0x8CA6,
    "read framebuffer": 0x8CAA,
    "scissor test": 0x0C11,
    "blend": 0x0BE2,
    "blend source": 0x80C9,
    "blend target": 0x80C8,
    "blend source alpha": 0x80CB,
    "blend target alpha": 0x80CA,
    "depth test": 0x0B71,
    "depth mask": 0x0B72,
    "depth function": 0x0B74,
    "cull": 0x0B44,
    "active texture": 0x84E0,
    "vertex array": 0x85B5,
    "draw buffer": 0x0C01,
    "unpack alignment": 0x0CF5,
    "unpack row": 0x0CF2,
    "viewport": 0x0BA2,
}


class Scene:
    """A sphere and, once it is attached, a model."""

    def __init__(self, model: NeuralVolume, transfer: TransferFunction, samples=0, **settings):
        self.renderer, self.window = vtkRenderer(), vtkRenderWindow()
        self.renderer.SetBackground(1, 1, 1)
        self.window.SetOffScreenRendering(1)
        self.window.SetMultiSamples(samples)
        self.window.SetSize(WIDTH, HEIGHT)
        self.window.AddRenderer(self.renderer)
        self.prop = NeuralVolumeProp(model, transfer, RenderSettings(**settings))
        bounds = np.reshape(model.geometry.bounds, (3, 2))
        self.centre, self.reach = bounds.mean(axis=1), float(np.linalg.norm(np.ptp(bounds, axis=1)))
        self.renderer.AddActor(self._sphere())
        camera = self.renderer.GetActiveCamera()
        camera.SetFocalPoint(self.centre.tolist())
        camera.SetPosition((self.centre + self.reach * np.array([1.0, 0.8, 1.3])).tolist())
        self.renderer.ResetCameraClippingRange(self.box())

    def box(self):
        low, high = self.centre - self.reach, self.centre + self.reach
        return np.stack([low, high], axis=1).ravel().tolist()

    def _sphere(self):
        source = vtkSphereSource()
        source.SetCenter((self.centre + 0.1 * self.reach).tolist())
        source.SetRadius(0.15 * self.reach)
        mapper = vtkPolyDataMapper()
        mapper.SetInputConnection(source.GetOutputPort())
        actor = vtkActor()
        actor.SetMapper(mapper)
        actor.GetProperty().SetColor(0.9, 0.7, 0.1)
        return actor

    def shown(self) -> np.ndarray:
        self.window.Render()
        pixels = vtkUnsignedCharArray()
        self.window.GetPixelData(0, 0, WIDTH - 1, HEIGHT - 1, 0, pixels, 0)
        return vtk_to_numpy(pixels).reshape(HEIGHT, WIDTH, 3).astype(float)

    def depths(self) -> np.ndarray:
        values = vtkFloatArray()
        self.window.GetZbufferData(0, 0, WIDTH - 1, HEIGHT - 1, values)
        return vtk_to_numpy(values).reshape(HEIGHT, WIDTH).copy()

    def expected(self, model, transfer, without, depth) -> np.ndarray:
        """Return what the native marcher makes of the same scene."""
        volume = self.prop.volume
        placement = scene.Placement.of(scene.numbers(volume.GetMatrix()))
        settings = scene.settings_of(volume, self.renderer, placement, self.prop.settings)
        camera = Camera(WIDTH, HEIGHT, scene.world_to_clip(self.renderer) @ placement.matrix())
        shown = model.scaled(placement.scale)
        rgba = render(shown, camera, transfer, settings, depth=depth, backend="native")
        return np.minimum(without * (1 - rgba[..., 3:]) + 255 * rgba[..., :3], 255)


def levels(picture: np.ndarray, expected: np.ndarray) -> list[float]:
    """Return the mean difference, and the largest of all pixels but two.

    A pixel or two may lie where a gradient has two values, and show either.
    """
    difference = np.abs(picture - expected)
    return [float(difference.mean()), float(np.sort(difference.max(axis=2), axis=None)[-3])]


def transfer_for(model: NeuralVolume) -> TransferFunction:
    values = model.reconstruct_block().values[0]
    low, high = map(float, np.nanquantile(values, [0.02, 0.98]))
    ramp = np.linspace(0, 1, 32)
    return TransferFunction(low, high, np.stack([ramp, 1 - ramp, ramp**2, 0.4 * ramp], axis=1))


def pictures(model: NeuralVolume, bricks: NeuralVolume, uneven: NeuralVolume) -> dict:
    """Compare scenes with the native marcher, in levels of 255: mean and maximum."""
    found = {}

    def compare(name, volume, change=lambda scene: None, **settings):
        transfer = transfer_for(volume)
        made = Scene(volume, transfer, **settings)
        change(made)
        without = made.shown()
        depth = made.depths()
        made.prop.attach(made.renderer)
        picture = made.shown()
        found[name] = levels(picture, made.expected(volume, transfer, without, depth))
        found[name] += [float(np.abs(picture - without).max()), made.prop.status]

    values = model.reconstruct_block().values[0]
    surface = (float(np.quantile(values, 0.5)),)
    compare("composite", model, samples_per_voxel=2.0)
    compare("bricks", bricks)
    compare("uneven", uneven)
    compare("lit", model, shade=True)
    compare("maximum", model, blend="maximum")
    compare("surface", model, blend="isosurface", isovalues=surface, shade=True)
    compare("lights", model, _two_lights, shade=True)
    compare("parallel", model, _parallel)
    compare("moved", model, _moved, shade=True)
    compare("cropped", model, _cropped)
    compare("clipped", model, _clipped)
    compare("near", model, _near)
    return found


def stood_in(model: NeuralVolume) -> dict:
    """Draw in the place of a volume that is moved, cropped and clipped, then let it be seen."""
    from amgsrn_core.vtk.stand_in import StandIn

    made = Scene(model, transfer_for(model))
    for change in (_moved, _cropped, _clipped):
        change(made)
    made.renderer.AddVolume(made.prop.volume)  # as anybody's: eight zeros, without a shader
    made.renderer.UseDepthPeelingForVolumesOn()
    stand_in = StandIn(model, made.prop.volume).attach(made.renderer)
    shown = made.shown()
    made.renderer.RemoveVolume(made.prop.volume)
    stand_in.original.VisibilityOff()
    without, depth = made.shown(), made.depths()
    stand_in.original.VisibilityOn()
    picture = made.expected(
        model, scene.transfer_of(made.prop.volume.GetProperty()), without, depth
    )
    found = {"picture": levels(shown, picture), "seen": float(np.abs(shown - without).max())}
    made.renderer.AddVolume(made.prop.volume)
    found["again"] = float(np.abs(made.shown() - shown).max())
    found["visible"] = made.prop.volume.GetVisibility()
    found["peeling"] = made.renderer.GetUseDepthPeelingForVolumes()
    low, high = np.reshape(model.geometry.bounds, (3, 2)).T
    middle = 0.5 * (low + high)
    part = np.stack([low, [*high[:2], middle[2]]], axis=1).ravel().tolist()
    stand_in.settings = RenderSettings(crop=tuple(part))
    found["part"] = float(np.abs(made.shown() - shown).max())
    made.prop.volume.GetMapper().SetBlendMode(3)  # averages
    averaged, found["status"] = made.shown(), stand_in.status
    stand_in.detach(made.renderer)
    found["other blend"] = float(np.abs(made.shown() - averaged).max())
    return found


def _two_lights(made: Scene) -> None:
    for position, colour in (((1, 0, 0), (1, 0.5, 0.2)), ((0, 1, 1), (0.2, 0.5, 1))):
        light = vtkLight()
        light.SetPosition(*position)
        light.SetFocalPoint(0, 0, 0)
        light.SetColor(*colour)
        made.renderer.AddLight(light)


def _parallel(made: Scene) -> None:
    made.renderer.GetActiveCamera().ParallelProjectionOn()
    made.renderer.GetActiveCamera().SetParallelScale(0.5 * made.reach)


def _moved(made: Scene) -> None:
    turn = vtkTransform()
    turn.Translate(*made.centre)
    turn.RotateWXYZ(30, 1, 2, 3)
    turn.Scale(0.9, 0.6, 1.2)
    turn.Translate(*-made.centre)
    made.prop.volume.SetUserTransform(turn)


def _cropped(made: Scene) -> None:
    low, high = made.centre - 0.1 * made.reach, made.centre + 0.3 * made.reach
    mapper = made.prop.volume.GetMapper()
    mapper.CroppingOn()
    mapper.SetCroppingRegionPlanes(np.stack([low, high], axis=1).ravel().tolist())


def _clipped(made: Scene) -> None:
    plane, planes = vtkPlane(), vtkPlaneCollection()
    plane.SetOrigin(made.centre.tolist())
    plane.SetNormal(0.3, 0.8, -0.5)
    planes.AddItem(plane)
    made.prop.volume.GetMapper().SetClippingPlanes(planes)


def _near(made: Scene) -> None:
    camera = made.renderer.GetActiveCamera()
    camera.SetPosition((made.centre + 0.1 * made.reach).tolist())
    camera.SetFocalPoint((made.centre - made.reach * np.array([1, 0.3, 0.2])).tolist())
    camera.SetClippingRange(0.02 * made.reach, 3 * made.reach)


def state() -> dict:
    library = ctypes.CDLL("libGL.so.1")
    made = {}
    for name, what in STATE.items():
        values = (ctypes.c_int * 4)()
        library.glGetIntegerv(what, values)
        made[name] = list(values)
    made["error"] = library.glGetError()
    return made


def traces(model: NeuralVolume) -> dict:
    """Return what frames leave behind in OpenGL, beside what a plain vtkVolume leaves."""
    made = Scene(model, transfer_for(model))
    units = made.window.GetTextureUnitManager()
    record = {}

    def note(name):
        tag = made.renderer.AddObserver(
            "EndEvent", lambda *_: record.__setitem__(name, state()), -1.0
        )
        picture = made.shown()
        made.renderer.RemoveObserver(tag)
        used = [i for i in range(units.GetNumberOfTextureUnits()) if units.IsAllocated(i)]
        record[f"{name}: units"] = used
        return picture

    before = note("without")
    made.prop.attach(made.renderer)
    shown = note("neural")
    record["again"] = bool(np.array_equal(note("neural"), shown))
    usual, parts._WHOLE_SECONDS = parts._WHOLE_SECONDS, 0.0
    note("in parts")
    parts._WHOLE_SECONDS = usual
    made.prop.volume.VisibilityOff()
    record["hidden as before"] = bool(np.array_equal(made.shown(), before))
    made.prop.volume.VisibilityOn()
    made.window.SetDesiredUpdateRate(10.0)
    made.prop.moving_seconds = 1e-4
    record["moving"] = float(np.abs(made.shown() - shown).mean())
    record["moving pixels"] = made.prop.volume.GetMapper().GetImageSampleDistance()
    made.window.SetDesiredUpdateRate(0.001)
    record["still again"] = float(np.abs(made.shown() - shown).max())
    opacity = made.prop.volume.GetProperty().GetScalarOpacity(0)
    low, high = opacity.GetRange()
    opacity.AddPoint((low + high) / 2, 1.0)
    record["other opacity"] = float(np.abs(made.shown() - shown).max())
    made.prop.detach(made.renderer)
    record["detached as before"] = bool(np.array_equal(made.shown(), before))
    made.renderer.AddVolume(_plain_volume(model))
    note("plain")
    return record


def _plain_volume(model: NeuralVolume):
    """Return a vtkVolume as a prop has it, without a shader of ours."""
    prop = NeuralVolumeProp(model, transfer_for(model))
    return prop.volume


def growth(model: NeuralVolume, count: int = 100) -> dict:
    """Open and close models in one window: textures and props that are left."""
    made = Scene(model, transfer_for(model))
    made.window.Render()
    library = ctypes.CDLL("libGL.so.1")
    textures, props = [], []
    for _ in range(count):
        prop = NeuralVolumeProp(NeuralVolume.open(model.path, device="cpu"), transfer_for(model))
        prop.attach(made.renderer)
        made.window.Render()
        prop.detach(made.renderer)
        textures.append(sum(library.glIsTexture(name) for name in range(1, 20 * count)))
        props.append(weakref.ref(prop))
    del prop
    gc.collect()
    return {"textures": textures, "props": sum(ref() is not None for ref in props)}


def refused(path: str) -> dict:
    """Show a model that no shader draws."""
    model = NeuralVolume.open(path, device="cpu")
    made = Scene(model, transfer_for(model))
    without = made.shown()
    made.prop.attach(made.renderer)
    made.shown()
    difference = float(np.abs(made.shown() - without).max())
    return {"status": made.prop.status, "difference": difference}


def unseen(model: NeuralVolume) -> dict:
    """Return the status where there is nothing to see, and what the frames after it show."""
    made = Scene(model, transfer_for(model))
    without = made.shown()
    made.prop.attach(made.renderer)
    shown, volume, camera = made.shown(), made.prop.volume, made.renderer.GetActiveCamera()
    record = {}

    def note(name):
        picture, status = made.shown(), made.prop.status
        record[name] = [status, float(np.abs(picture - without).max())]

    volume.SetScale(0, 1, 1)
    note("flat")
    volume.SetScale(1, 1, 1)
    up = camera.GetViewUp()
    camera.SetViewUp(camera.GetDirectionOfProjection())
    record["up"] = [made.shown() is not None and made.prop.status, 0.0]
    camera.SetViewUp(up)
    place = camera.GetPosition()
    camera.SetPosition(float("nan"), 0.0, 0.0)
    record["nan"] = [made.shown() is not None and made.prop.status, 0.0]
    camera.SetPosition(place)
    record["again"] = float(np.abs(made.shown() - shown).max())
    made.window.Finalize()  # the context is lost, and another one comes
    record["another context"] = float(np.abs(made.shown() - shown).max())
    volume.GetMapper().SetBlendModeToAverageIntensity()
    note("average")
    return record


def troubles(model: NeuralVolume) -> dict:
    """Return the status after each trouble, how much is shown then, and of what came next."""
    record = {}

    def trouble(name, module, attribute, instead):
        made = Scene(model, transfer_for(model))
        without = made.shown()
        made.prop.attach(made.renderer)
        before = getattr(module, attribute)
        setattr(module, attribute, instead)
        vtkObject.GlobalWarningDisplayOff()
        made.shown()
        vtkObject.GlobalWarningDisplayOn()
        setattr(module, attribute, before)
        preview, status = made.shown(), made.prop.status
        made.prop.model = model
        network = made.shown()
        record[name] = {
            "status": status,
            "preview": float(np.abs(preview - without).max()),
            "then": made.prop.status,
            "differs": float(np.abs(network - preview).max()),
        }

    trouble("size", textures, "_most_texels", lambda *_: 4)
    trouble("shader", network_volume, "fragment_source", lambda *_: "this is no shader")
    trouble("surprise", network_volume, "view_uniforms", lambda *_: 1 / 0)
    return record


@contextlib.contextmanager
def slow(*, frame_seconds: float = 1e-9):
    """Take any picture for one that takes long, and parts for slow."""
    instead = {"_WHOLE_SECONDS": 0.0, "_PART_SECONDS": 1e-9, "_LARGE_PART_SECONDS": 1e-9}
    instead["_FIRST_PIXELS"] = 512
    kept = {name: getattr(parts, name) for name in instead}
    vars(parts).update(instead)
    network_volume.FRAME_SECONDS = frame_seconds
    yield
    vars(parts).update(kept)
    network_volume.FRAME_SECONDS = parts.FRAME_SECONDS


@contextlib.contextmanager
def fast():
    """Take any picture for one that takes no time."""
    kept, parts._WHOLE_SECONDS = parts._WHOLE_SECONDS, 1e9
    yield
    parts._WHOLE_SECONDS = kept


def in_parts(model: NeuralVolume) -> dict:
    """Return how much pictures in parts differ from those that are drawn at once."""
    record = {}

    def compare(name, change=lambda made: None, samples=0, **settings):
        made = Scene(model, transfer_for(model), samples, **settings)
        change(made)
        made.prop.attach(made.renderer)
        with fast():
            made.shown()  # nobody knew how long it takes
            whole = made.shown()
            made.prop.progress == 1 or record.__setitem__(name, "not at once")
        with slow():
            again = made.shown()
        record[name] = float(np.abs(whole - again).max())

    def half(made):
        made.renderer.SetViewport(0.5, 0.25, 1.0, 1.0)

    compare("whole")
    compare("lit, jittered", shade=True, jitter=True)
    compare("beside", half, jitter=True)
    compare("near", _near)
    compare("parallel", _parallel)
    compare("samples", samples=4)
    record["frames"] = _frames(Scene(model, transfer_for(model)))
    return record


def _frames(made: Scene) -> dict:
    """Let a picture come frame by frame."""
    made.prop.attach(made.renderer)
    made.prop.pace(1e-9)
    record = {"progress": [], "differences": []}
    with slow():
        pictures = []
        while made.prop.progress < 1 or not pictures:
            pictures.append(made.shown())
            record["progress"].append(made.prop.progress)
            record["status"] = made.prop.status
        record["kept"] = float(np.abs(made.shown() - pictures[-1]).max())
        record["refined"] = made.prop.status
        actors = made.renderer.GetActors()
        actors.InitTraversal()
        actors.GetNextActor().SetPosition(*(-0.1 * made.reach * np.ones(3)))
        made.shown()
        record["moved"] = made.prop.progress
        made.prop.pace(None)
        moved = made.shown()
    with fast():
        made.shown()
        record["moved differs"] = float(np.abs(made.shown() - moved).max())
        actors.GetNextActor()
        actors.InitTraversal()
        actors.GetNextActor().SetPosition(0, 0, 0)
        whole = made.shown()
    record["differences"] = [float(np.abs(each - whole).mean()) for each in pictures]
    return record


def event_loop(model: NeuralVolume) -> dict | None:
    """Return what a window's event loop draws after a drag, and a screenshot of it."""
    try:
        from vtkmodules.vtkInteractionStyle import vtkInteractorStyleTrackballCamera
        from vtkmodules.vtkRenderingUI import vtkXRenderWindowInteractor
    except ImportError:
        return None
    if not os.environ.get("DISPLAY"):
        return None
    made, record = Scene(model, transfer_for(model)), {"frames": []}
    made.window.SetOffScreenRendering(0)
    made.prop.attach(made.renderer)
    interactor, style = vtkXRenderWindowInteractor(), vtkInteractorStyleTrackballCamera()
    interactor.SetRenderWindow(made.window)
    interactor.SetInteractorStyle(style)
    interactor.Initialize()
    tag = made.renderer.AddObserver(
        "EndEvent",
        lambda *_: record["frames"].append(
            [made.window.GetDesiredUpdateRate() > 1, made.prop.progress]
        ),
        -2.0,
    )

    def drag(*_):
        interactor.SetEventInformation(30, 20)
        interactor.InvokeEvent("LeftButtonPressEvent")
        interactor.SetEventInformation(36, 22)
        interactor.InvokeEvent("MouseMoveEvent")
        interactor.InvokeEvent("LeftButtonReleaseEvent")

    def go_on(*_):
        if "begun" not in record:
            record["begun"] = len(record["frames"])
            drag()
        elif made.prop.progress == 1 and "after" not in record:
            record["after"] = len(record["frames"])
            drag()
            record["unfinished"] = made.prop.progress
            record["shot"] = screenshot(made.window)
        elif made.prop.progress == 1 and "difference" not in record:
            made.renderer.RemoveObserver(tag)
            with fast():
                shot = record.pop("shot")
                record["difference"] = float(np.abs(screenshot(made.window) - shot).max())
            interactor.TerminateApp()

    interactor.AddObserver("TimerEvent", go_on, -1.0)
    made.window.Render()
    interactor.CreateRepeatingTimer(50)
    with slow():
        interactor.Start()
    return record


def screenshot(window) -> np.ndarray:
    """Return what vtkWindowToImageFilter makes of a window."""
    image = vtkWindowToImageFilter()
    image.SetInput(window)
    image.Update()
    pixels = image.GetOutput().GetPointData().GetScalars()
    return vtk_to_numpy(pixels).reshape(HEIGHT, WIDTH, 3).astype(float)


def pyvista_picture(path: str) -> dict | None:
    try:
        import pyvista
    except ImportError:
        return None
    from amgsrn_core.vtk import add_neural_volume

    plotter = pyvista.Plotter(off_screen=True, window_size=(WIDTH, HEIGHT))
    prop = add_neural_volume(plotter, path, name="model")
    first = plotter.screenshot(return_img=True).astype(float)
    plotter.enable_anti_aliasing("ssaa")
    plotter.render()
    smooth = plotter.screenshot(return_img=True).astype(float)
    plotter.disable_anti_aliasing()
    plotter.remove_actor("model")
    plotter.render()
    removed = plotter.screenshot(return_img=True).astype(float)
    return {
        "status": prop.status,
        "seen": float(np.abs(first - removed).max()),
        "ssaa": float(np.abs(first - smooth).mean()),
    }


def main() -> None:
    # An X server begins afresh when its last client leaves, and refuses others meanwhile.
    window = vtkRenderWindow()
    window.SetOffScreenRendering(1)
    window.SetSize(8, 8)
    window.Render()
    model, bricks, uneven = (NeuralVolume.open(path, device="cpu") for path in sys.argv[1:4])
    result = {
        "version": vtkVersion.GetVTKVersion(),
        "modules": [name for name in ("torch", "paraview") if name in sys.modules],
        "pictures": pictures(model, bricks, uneven),
        "traces": traces(model),
        "growth": growth(model),
        "stood in": stood_in(model),
        "refused": refused(sys.argv[4]),
        "unseen": unseen(model),
        "troubles": troubles(model),
        "parts": in_parts(model),
        "loop": event_loop(model),
        "pyvista": pyvista_picture(sys.argv[1]),
    }
    with open(sys.argv[5], "w") as file:
        json.dump(result, file)


if __name__ == "__main__":
    main()
