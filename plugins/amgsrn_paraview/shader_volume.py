"""Neural Volume's backend "opengl": the network drawn by a shader, where ParaView draws.

The plugin `NeuralVolume` (C++) calls :func:`shade` in the midst of a frame, with everything opaque
drawn. A stock mapper of VTK, which is in no renderer, draws then and there what
:mod:`amgsrn_paraview.neural_volume` would compute for the same request.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

from vtkmodules.vtkCommonMath import vtkMatrix4x4

from amgsrn_core.errors import AmgsrnError, ConfigurationError
from amgsrn_core.rendering import RenderSettings, TransferFunction
from amgsrn_core.rendering.image import displayed
from amgsrn_core.rendering.samples import Samples
from amgsrn_core.shader.renderers import is_software
from amgsrn_core.vtk import scene
from amgsrn_core.vtk.network_volume import NetworkVolume
from amgsrn_core.vtk.textures import renderer_name
from amgsrn_paraview import neural_volume
from amgsrn_paraview.explanation import explain

if TYPE_CHECKING:
    from amgsrn_core.field.neural_volume import NeuralVolume
    from amgsrn_paraview.neural_volume import Request

_log = logging.getLogger(__name__)

# Where rays are counted, one stands for so many pixels along an edge.
_FEWER = 16

# What others take for a picture is found out with so many rays.
_TIMED_RAYS = 2000


def shade(
    token: int, renderer: Any, volume: Any, budget: float | None, request: Request
) -> tuple[float, str] | None:
    """Draw a model, or as much of it as there is time for.

    Parameters
    ----------
    token : int
        Identity of the caller.
    renderer : vtkRenderer
        It is drawing.
    volume : vtkVolume
        Its matrix counts.
    budget : float or None
        Seconds that this may take; None for as long as it needs.
    request : dict
        See :data:`amgsrn_paraview.neural_volume.Request`, without `depth`.

    Returns
    -------
    tuple or None
        How much of the picture is drawn, 0 to 1, and a status for people. None where another
        backend is to make the picture, because "auto" finds it faster or this one fails: the
        status of those pictures says why.
    """
    painter = neural_volume.painter(token)
    shader = painter.shader = painter.shader or _Shader()
    try:
        answer = shader.draw(painter, renderer, volume, budget, request)
    except Exception as error:
        _log.debug("The shader cannot be used.", exc_info=True)
        shader.refuse(request, explain(error, "OpenGL", "choose another backend"))
        answer = None
    painter.remark = shader.remark
    if answer is not None:
        painter.told = None
    return answer


class _Shader:
    """What one mapper draws by a shader."""

    def __init__(self) -> None:
        self._network: _Network | None = None
        self._backend = ""
        self._refused: tuple[str, ...] = ()
        self._compared: tuple[str, ...] = ()
        self._counted: tuple[Any, ...] = ()
        self._samples = 0.0
        self.remark = ""

    def refuse(self, request: Request, why: str) -> None:
        """Leave it to others, until another backend or model is asked for."""
        self._network, self._backend, self._refused = None, "", _asked(request)
        self.remark = f"OpenGL is not used: {why}" if why else ""

    def draw(
        self, painter: Any, renderer: Any, volume: Any, budget: float | None, request: Request
    ) -> tuple[float, str] | None:
        """Draw a frame; see :func:`shade`."""
        if _asked(request) == self._refused:
            return None
        self._refused, self.remark = (), ""
        if not scene.is_seen(neural_volume.matrix_of(request)):
            return None
        is_auto = request["backend"] == "auto"
        if request["backend"] != self._backend:
            self._network, self._backend = None, request["backend"]
            if is_auto and is_software(renderer_name(renderer.GetRenderWindow())):
                self.refuse(request, "")
                return None
        try:
            model = painter.open({**request, "device": "cpu"})
            look = neural_volume.look_of(request, model.index)
        except AmgsrnError:
            return None  # any backend fails, and says so
        network = self._network = self._network or _Network(model, *look)
        network.follow(model, *look, volume, request)
        network.pace(budget)
        start = time.perf_counter()
        network.draw_now(renderer)
        seconds = time.perf_counter() - start
        if not network.is_network:
            raise ConfigurationError(network.reason)
        whole = network.whole_seconds(renderer)
        if is_auto and whole and network.progress == 1 and self._compared != _asked(request):
            self._compared = _asked(request)
            self._require_faster(model, request, whole)
        status = f"{network.describe(request)}, {seconds:.2f} s"
        if whole:
            rate = self._samples_of(model, request, look[0]) / whole
            status += f", {rate / 1e6:.3g} million samples/s"
        return network.progress, f"{status}, {network.progress:.0%} refined{network.note}"

    def _require_faster(self, model: NeuralVolume, request: Request, whole: float) -> None:
        """Leave it to others if these make the picture sooner than in `whole` seconds."""
        width, height = request["size"]
        fewer = max(1.0, (width * height / _TIMED_RAYS) ** 0.5)
        for _ in range(2):  # the first one finds out where there is nothing
            small = neural_volume.Picture(model, {**request, "depth": b""}, pixels=fewer)
            small.advance(None)
        expected = small.seconds * fewer**2
        if expected < whole:
            why = f"{small.marcher.backend} takes {expected:.2g} s here, and OpenGL {whole:.2g} s."
            self.refuse(request, why)

    def _samples_of(self, model: NeuralVolume, request: Request, settings: RenderSettings) -> float:
        """Return about how many samples the picture's rays have."""
        about = request["world_to_clip"], request["size"], settings
        if about != self._counted:
            camera = neural_volume.camera_of(request, _FEWER)
            shown, camera, settings = displayed(model, camera, settings)
            count = Samples.on_rays(camera.rays(), shown.geometry, settings).count.sum()
            width, height = request["size"]
            self._samples = float(count) * width * height / (camera.width * camera.height)
            self._counted = about
        return self._samples


class _Network(NetworkVolume):
    """The network, looking as a request says."""

    def __init__(
        self, model: NeuralVolume, settings: RenderSettings, transfer: TransferFunction
    ) -> None:
        self._wanted = settings, transfer
        self._stamp: tuple[Any, ...] = ()
        self.reason = ""
        super().__init__(model, RenderSettings())

    def follow(
        self,
        model: NeuralVolume,
        settings: RenderSettings,
        transfer: TransferFunction,
        volume: Any,
        request: Request,
    ) -> None:
        """Take on what a request and the volume's matrix say."""
        self._wanted = settings, transfer
        self._stamp = request["range"], request["logarithmic"], request["table"]
        if model is not self._model:
            self.model = model
        self._show_box()
        matrix = vtkMatrix4x4()
        matrix.DeepCopy(volume.GetMatrix())
        self.volume.SetUserMatrix(matrix)
        self.volume.GetMapper().SetBlendMode(int(request["blend_mode"][0]))

    def whole_seconds(self, renderer: Any) -> float:
        """Return what a still picture takes as far as is known, or 0."""
        _, _, columns, rows = self._rectangle
        return self._picture(renderer).pixel_seconds * columns * rows

    def describe(self, request: Request) -> str:
        width, height = (int(size) for size in request["size"])
        pixels = self.volume.GetMapper().GetImageSampleDistance()
        surfaces = ", ".join(f"{value:g}" for value in self._seen.isovalues)
        what = f"surface at {surfaces}, " if self._seen.blend == "isosurface" else ""
        return (
            f"{what}opengl on {self.renderer}, {width / pixels:.0f} x {height / pixels:.0f} rays, "
            f"{self._seen.samples_per_voxel:g} samples per voxel"
        )

    def fall_back(self, reason: str) -> None:
        self.is_network, self.reason = False, reason

    def _seen_settings(self, renderer: Any, placement: scene.Placement) -> RenderSettings:
        return self._wanted[0].scaled(placement.scale)

    def _transfer(self) -> TransferFunction:
        return self._wanted[1]

    def _times(self) -> tuple[Any, ...]:
        return self._stamp

    def _bounds(self) -> tuple[float, ...]:
        return self._wanted[0].crop or super()._bounds()


def _asked(request: Request) -> tuple[str, ...]:
    return request["backend"], request["path"], request["checksum"], request.get("step", "")
