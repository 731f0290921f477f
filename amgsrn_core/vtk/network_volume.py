"""How a model is drawn: a stock vtkVolume whose fragment shader evaluates the network."""

from __future__ import annotations

import dataclasses
import logging
import os
import time
import weakref
from typing import TYPE_CHECKING, Any

import numpy as np
from vtkmodules.vtkCommonCore import VTK_FLOAT
from vtkmodules.vtkCommonDataModel import vtkImageData
from vtkmodules.vtkRenderingCore import vtkVolume
from vtkmodules.vtkRenderingVolumeOpenGL2 import vtkOpenGLGPUVolumeRayCastMapper

from amgsrn_core.errors import AmgsrnError, ConfigurationError
from amgsrn_core.field.neural_volume import NeuralVolume
from amgsrn_core.rendering.settings import RenderSettings
from amgsrn_core.rendering.transfer import TransferFunction
from amgsrn_core.rendering.units import in_view_units
from amgsrn_core.shader import PackedLook, PackedModel, fragment_source, view_uniforms
from amgsrn_core.vtk import scene
from amgsrn_core.vtk.clock import FrameClock
from amgsrn_core.vtk.parts import FRAME_SECONDS, KeptPicture, covered, viewport
from amgsrn_core.vtk.textures import WindowTextures, set_uniforms

if TYPE_CHECKING:
    from typing_extensions import Self

_log = logging.getLogger(__name__)

# A window that is asked for more pictures a second than this is being moved.
_MOVING_RATE = 1.0

# Of a ray, in one pass of a software renderer: these end all loops after 65,535 iterations.
_MOST_SAMPLES = 1024

_MOST_PIXELS = 32.0  # along an edge, which one ray stands for

# All that a vertex shader must hand on to find out whether the fragment shader compiles.
_VERTEX = """//VTK::System::Dec
in vec3 in_vertexPos;
out vec3 ip_vertexPos;
void main() { ip_vertexPos = in_vertexPos; gl_Position = vec4(in_vertexPos, 1.0); }
"""


class NetworkVolume:
    """A model that a stock vtkVolume draws: the textures, uniforms and text of its shader.

    Parameters
    ----------
    model : NeuralVolume or path
        Of a series, one time step.
    settings : RenderSettings
        What VTK's objects do not say: samples per voxel, component, seed, opacity limit.
    half : bool, default: False
        Features in 16 bits: half the memory, and pictures that differ by up to two levels of 255.
    moving_seconds : float, default: 0.2
        What a frame takes at most while the window is being moved.

    Raises
    ------
    ConfigurationError
        There is no such component, also where settings or model are set later.

    Attributes
    ----------
    volume : vtkVolume
    status : str
        What draws it, for people, or why it is not drawn.
    is_network : bool
        Whether the network is drawn.
    renderer, note : str
        GL_RENDERER, and what is drawn otherwise than it was asked for.
    """

    def __init__(
        self,
        model: NeuralVolume | str | os.PathLike[str],
        settings: RenderSettings,
        *,
        half: bool = False,
        moving_seconds: float = 0.2,
    ) -> None:
        if not moving_seconds > 0:
            raise ConfigurationError(f"moving_seconds must be more than 0, not {moving_seconds}.")
        self.moving_seconds, self._half = moving_seconds, half
        self._model, self._settings = opened(model), settings
        settings.require_component(len(self._model.components))
        self.volume = _new_volume()
        me = weakref.ref(self)

        def before_drawing(*_: Any) -> None:
            network = me()
            if network is not None:
                network._before_drawing()

        self.volume.GetMapper().AddObserver("VolumeMapperRenderStartEvent", before_drawing)
        self.is_network, self.status = True, "not drawn yet"
        self._boxed: tuple[float, ...] = ()
        self._show_box()
        # By the identities of windows and renderers: whoever holds these keeps them alive.
        self._windows: dict[str, WindowTextures] = {}
        self._observers: dict[str, list[int]] = {}
        self._look_key: tuple[Any, ...] = ()
        self._source = self.note = self.renderer = ""
        self._pixel_seconds, self._started = 0.0, 0.0
        self._pictures: dict[str, KeptPicture] = {}
        self._clocks: dict[str, FrameClock] = {}
        self._drawn_in: Any = None
        self._failure = ""
        self._pace: tuple[float | None, ...] = ()
        self._peeled: set[str] = set()
        self._unseen: set[str] = set()

    @property
    def model(self) -> NeuralVolume:
        """The model, of a series one time step; another one may take its place."""
        return self._model

    @model.setter
    def model(self, model: NeuralVolume | str | os.PathLike[str]) -> None:
        model = opened(model)
        self._settings.require_component(len(model.components))
        self._model, self._look_key = model, ()
        self._try_again()

    @property
    def settings(self) -> RenderSettings:
        """What VTK's objects do not say: samples per voxel, component, seed, opacity limit."""
        return self._settings

    @settings.setter
    def settings(self, settings: RenderSettings) -> None:
        settings.require_component(len(self._model.components))
        self._settings = settings
        self._try_again()

    def attach(self, renderer: Any) -> Self:
        """Add the volume to a vtkRenderer; returns itself."""
        if not renderer.HasViewProp(self.volume):
            renderer.AddVolume(self.volume)
        self.observe(renderer)
        return self

    def _try_again(self) -> None:
        """Draw the network in the next frame, also if it could not be drawn before."""
        if not self.is_network:
            self.is_network, self.status, self._boxed = True, "not drawn yet", ()
        self._show_box()
        self.volume.Modified()

    def _is_seen(self, renderer: Any) -> bool:
        to_clip = scene.world_to_clip(renderer) @ scene.numbers(self.volume.GetMatrix())
        return min(renderer.GetSize()) > 0 and scene.is_seen(to_clip)

    def _show_box(self) -> None:
        """Give the volume the bounds of what is drawn."""
        bounds = self._bounds()
        if bounds != self._boxed:
            self.volume.GetMapper().SetInputData(_box(bounds))
            self._boxed = bounds

    def _bounds(self) -> tuple[float, ...]:
        return tuple(self._model.geometry.bounds)

    def observe(self, renderer: Any) -> None:
        """Draw in a renderer that shows the volume already, whoever added it."""
        if renderer.__this__ not in self._observers:
            self._observers[renderer.__this__] = [
                renderer.AddObserver("StartEvent", lambda caller, _: self.begin(caller)),
                renderer.AddObserver("EndEvent", lambda caller, _: self.end(caller)),
            ]

    def detach(self, renderer: Any) -> None:
        """Remove the volume from a renderer, and free its textures with the window's last one."""
        for tag in self._observers.pop(renderer.__this__, ()):
            renderer.RemoveObserver(tag)
        renderer.RemoveVolume(self.volume)
        window = renderer.GetRenderWindow()
        picture = self._pictures.pop(renderer.__this__, None)
        if window is None:
            return
        if picture is not None:
            window.MakeCurrent()
            picture.release(window)
        renderers = window.GetRenderers()
        others = [renderers.GetItemAsObject(i) for i in range(renderers.GetNumberOfItems())]
        if not any(other.__this__ in self._observers for other in others):
            self.release(window)

    def release(self, window: Any) -> None:
        """Free the textures in a vtkRenderWindow."""
        textures = self._windows.pop(window.__this__, None)
        if textures is not None:
            window.MakeCurrent()
            textures.release(window)
            window.RemoveObserver(textures.observer)
            for picture in self._pictures.values():
                picture.release(window)
            self._clocks.pop(window.__this__, FrameClock()).leave(window)
            self.volume.ReleaseGraphicsResources(window)

    def begin(self, renderer: Any) -> None:
        """Prepare a frame; called at a renderer's StartEvent."""
        if not (self.is_network and self.volume.GetVisibility()):
            return
        if renderer.HasViewProp(self.volume):
            self._start(renderer)

    def draw_now(self, renderer: Any) -> None:
        """Draw in the midst of a frame of a renderer which has not got the volume.

        Everything opaque is to be there. Afterwards `is_network` tells whether it was drawn.
        """
        self._start(renderer)
        if self.is_network:
            self.volume.RenderVolumetricGeometry(renderer)
        self.end(renderer)

    def _start(self, renderer: Any) -> None:
        window = renderer.GetRenderWindow()
        try:
            if not self._is_seen(renderer):
                self.status = "the camera sees nothing of it"
                self.volume.VisibilityOff()
                self._unseen.add(renderer.__this__)
                return
            self._prepare(renderer, window)
        except Exception as error:  # VTK would print it, and draw eight zeros, in every frame
            _log.debug("The network cannot be drawn.", exc_info=True)
            self.release(window)
            self.fall_back(explained(error))
            return
        textures = self._windows[window.__this__]
        self.renderer = textures.renderer
        textures.activate(self._uniforms())
        self._drawn_in = renderer
        if renderer.GetUseDepthPeelingForVolumes():
            # Else each layer of translucent surfaces would march again, and without their depths.
            renderer.UseDepthPeelingForVolumesOff()
            self._peeled.add(renderer.__this__)

    def end(self, renderer: Any) -> None:
        """Give texture units back; called at a renderer's EndEvent."""
        if renderer.__this__ in self._unseen:
            self._unseen.remove(renderer.__this__)
            self.volume.VisibilityOn()
        if renderer.__this__ in self._peeled:
            self._peeled.remove(renderer.__this__)
            renderer.UseDepthPeelingForVolumesOn()
        window = renderer.GetRenderWindow()
        if window.__this__ not in self._windows:
            return
        self._windows[window.__this__].deactivate()
        picture = self._picture(renderer)
        picture.end()
        if self._started:
            window.WaitForCompletion()
            columns, rows = self._rectangle[2:]
            rays = columns * rows / self.volume.GetMapper().GetImageSampleDistance() ** 2
            seconds = (time.perf_counter() - self._started) / max(rays, 1.0)
            if _is_moving(window):
                self._pixel_seconds = seconds
            else:
                picture.pixel_seconds = seconds
        self._started, self._drawn_in = 0.0, None
        if self._failure:
            self.release(window)
            self.fall_back(self._failure)
            self._failure = ""
        elif not (self._pace or _is_moving(window)):
            self._clock(window).ask(window, frame=picture.progress < 1.0)

    def fall_back(self, reason: str) -> None:
        """Do not draw the network any more, and say why."""
        self.is_network, self._look_key = False, ()
        self.status = f"A preview is shown: {reason}"
        _log.warning("%s", self.status)

    def _prepare(self, renderer: Any, window: Any) -> None:
        uniforms = self._uniforms()
        placement = scene.Placement.of(scene.numbers(self.volume.GetMatrix()))
        settings = self._seen_settings(renderer, placement)
        textures = self._textures(window)
        settings = self._affordable(settings, textures.is_software)
        key = *self._times(), settings, placement.scale, self._model
        if key != self._look_key:
            self._pack(settings, placement, uniforms)
            self._look_key = key
            for picture in self._pictures.values():
                picture.expect_another_look()
        textures.update(window, {**self._packed.textures, **self._look.textures})
        self._check(window, textures)
        to_clip = scene.world_to_clip(renderer) @ placement.matrix()
        set_uniforms(uniforms, view_uniforms(to_clip, self._shown.geometry, self._seen))
        moving = _is_moving(window)
        x, y, columns, _ = viewport(renderer)
        self._to_clip = to_clip @ np.diag([*placement.scale, 1.0])
        self._rectangle = covered(self._to_clip, self._boxed, viewport(renderer))
        set_uniforms(
            uniforms,
            {
                "toClip": self._to_clip,
                "pixelOrigin": (float(x), float(y)),
                "pixelColumns": columns,
                "filtered": int(moving and not textures.is_software),
                "isKept": 0,
            },
        )
        self._cast_rays(self._pixels_per_ray(renderer) if moving else 1.0)

    def _before_drawing(self) -> None:
        """Draw in parts what would take long at once; called before VTK's mapper draws."""
        renderer = self._drawn_in
        if renderer is None:
            return
        self._drawn_in = None  # these are no frames of their own
        try:
            self._draw_parts(renderer)
        except Exception as error:  # VTK would print it
            _log.debug("The network cannot be drawn.", exc_info=True)
            self._failure = explained(error)

    def _draw_parts(self, renderer: Any) -> None:
        window, picture = renderer.GetRenderWindow(), self._picture(renderer)
        moving, pixels = _is_moving(window), self._rectangle[2] * self._rectangle[3]
        if moving or _is_supersampled(renderer) or not picture.is_wanted(pixels):
            picture.forget() if moving else picture.release(window)
            self._started = time.perf_counter()
            return

        def draw(distance: float) -> None:
            self._cast_rays(distance)
            self.volume.GetMapper().Render(renderer, self.volume)

        budget = self._budget(renderer)
        key = self._look_key, self._to_clip.tobytes()
        coarse = self._pixels_per_ray(renderer)
        picture.advance(renderer, draw, key, self._rectangle, budget, coarse)
        self._cast_rays(1.0)
        picture.show(self._uniforms())
        if picture.progress < 1:
            self.status += f", {picture.progress:.0%} refined"

    def pace(self, seconds: float | None) -> None:
        """Leave it to the caller to ask for frames until :attr:`progress` is 1.

        Parameters
        ----------
        seconds : float or None
            What the next still frames may take, or None for all that a picture takes.
        """
        self._pace = (seconds,)

    @property
    def progress(self) -> float:
        """How much of the picture is drawn, 0 to 1; the least of all renderers."""
        return min((picture.progress for picture in self._pictures.values()), default=1.0)

    def _budget(self, renderer: Any) -> float | None:
        """Return how many seconds a frame may take, or None where no other one follows."""
        if self._pace:
            return self._pace[0]
        is_one_of_many = self._clock(renderer.GetRenderWindow()).is_interactive(renderer)
        return FRAME_SECONDS if is_one_of_many else None

    def _picture(self, renderer: Any) -> KeptPicture:
        return self._pictures.setdefault(renderer.__this__, KeptPicture())

    def _clock(self, window: Any) -> FrameClock:
        return self._clocks.setdefault(window.__this__, FrameClock())

    def _uniforms(self) -> Any:
        return self.volume.GetShaderProperty().GetFragmentCustomUniforms()

    def _seen_settings(self, renderer: Any, placement: scene.Placement) -> RenderSettings:
        """Return settings in the stretched volume's coordinates."""
        return scene.settings_of(self.volume, renderer, placement, self._settings)

    def _transfer(self) -> TransferFunction:
        return scene.transfer_of(self.volume.GetProperty())

    def _pack(self, settings: RenderSettings, placement: scene.Placement, uniforms: Any) -> None:
        """Pack model and look for the shader, and say what is the same in every frame."""
        transfer = self._transfer()
        model = self._model.scaled(placement.scale)
        self._shown, transfer, self._seen = in_view_units(model, transfer, settings)
        # Whatever the place, the networks are the same.
        self._packed = PackedModel.of(self._model if self._shown is model else self._shown)
        self._look = PackedLook.of(self._shown, transfer, self._seen)
        self._source = fragment_source({**self._packed.defines, **self._look.defines}, "vtk")
        shader = self.volume.GetShaderProperty()
        if shader.GetFragmentShaderCode() != self._source:
            shader.SetFragmentShaderCode(self._source)
            uniforms.RemoveAllUniforms()
        set_uniforms(uniforms, self._look.uniforms)
        set_uniforms(uniforms, {"slice": (0.0, 1e9), "hasDepth": 1})

    def _textures(self, window: Any) -> WindowTextures:
        """Return the textures in a window."""
        key, windows = window.__this__, self._windows
        if key not in windows:
            windows[key] = WindowTextures(window, self._half)
            # Who holds this object, too, would keep it alive as long as the window.
            tag = window.AddObserver("DeleteEvent", lambda *_: windows.pop(key, None))
            windows[key].observer = tag
        return windows[key]

    def _affordable(self, settings: RenderSettings, is_software: bool) -> RenderSettings:
        """Return settings with as many samples as a software renderer's pass may have."""
        blend = scene.blend_of(self.volume.GetMapper().GetBlendMode())[1]
        self.note = f". {blend}" if blend else ""
        diagonal = float(np.linalg.norm(np.array(self._model.geometry.dims) - 1)) + 1
        most = _MOST_SAMPLES / diagonal
        if not is_software or settings.samples_per_voxel <= most:
            return settings
        self.note += (
            f"; {most:.2g} samples per voxel in place of {settings.samples_per_voxel:g}, since "
            "software renderers end loops early"
        )
        return dataclasses.replace(settings, samples_per_voxel=most)

    def _check(self, window: Any, textures: WindowTextures) -> None:
        """Raise unless the shader compiles in this window."""
        if textures.checked != self._source:
            source = self._source.replace("//VTK::Output::Dec", "out vec4 fragOutput0;")
            source = source.replace("gl_FragData[0]", "fragOutput0")
            if window.GetShaderCache().ReadyShaderProgram(_VERTEX, source, "") is None:
                raise ConfigurationError(
                    f"the shader does not compile with {textures.renderer}; its log says why."
                )
            textures.checked = self._source
        self.status = f"network, drawn by {textures.renderer}{self.note}"

    def _pixels_per_ray(self, renderer: Any) -> float:
        """Return for how many pixels along an edge a ray may stand while there is little time."""
        known = self._pixel_seconds or self._picture(renderer).pixel_seconds
        if known:
            seconds = known * self._rectangle[2] * self._rectangle[3]
            distance = (seconds / self.moving_seconds) ** 0.5
        else:
            is_software = self._textures(renderer.GetRenderWindow()).is_software
            distance = _MOST_PIXELS if is_software else 4.0
        return float(min(max(distance, 1.0), _MOST_PIXELS))

    def _cast_rays(self, distance: float) -> None:
        self.volume.GetMapper().SetImageSampleDistance(distance)

    def _times(self) -> tuple[int, ...]:
        prop = self.volume.GetProperty()
        colour, opacity = prop.GetRGBTransferFunction(0), prop.GetScalarOpacity(0)
        return colour.GetMTime(), opacity.GetMTime()


def opened(model: NeuralVolume | str | os.PathLike[str]) -> NeuralVolume:
    """Return a model, or the one in a file."""
    return model if isinstance(model, NeuralVolume) else NeuralVolume.open(model, device="cpu")


def explained(error: Exception) -> str:
    """Return an error as a sentence for people."""
    if isinstance(error, AmgsrnError):
        return str(error)
    return f"drawing the network failed ({type(error).__name__}: {error})."


def _is_moving(window: Any) -> bool:
    return bool(window.GetDesiredUpdateRate() > _MOVING_RATE)


def _is_supersampled(renderer: Any) -> bool:
    """Return whether VTK draws more pixels than the window has."""
    first = renderer.GetPass()
    return first is not None and bool(first.IsA("vtkSSAAPass"))


def _box(bounds: tuple[float, ...]) -> Any:
    """Return eight zeros, which tell VTK bounds."""
    low, high = np.reshape(bounds, (3, 2)).T
    image = vtkImageData()
    image.SetDimensions(2, 2, 2)
    image.SetOrigin(low.tolist())
    image.SetSpacing((high - low).tolist())
    image.AllocateScalars(VTK_FLOAT, 1)
    image.GetPointData().GetScalars().Fill(0.0)
    return image


def _new_volume() -> Any:
    mapper = vtkOpenGLGPUVolumeRayCastMapper()
    mapper.AutoAdjustSampleDistancesOff()
    volume = vtkVolume()
    volume.SetMapper(mapper)
    volume.PickableOff()
    return volume
