"""What these scripts share: models opened, views, pictures and films, errors as sentences."""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import paraview.simple as pv
from vtkmodules.vtkIOFFMPEG import vtkFFMPEGWriter
from vtkmodules.vtkIOImage import vtkPNGReader
from vtkmodules.vtkIOOggTheora import vtkOggTheoraWriter

from amgsrn_core.cli.options import scale_factors
from amgsrn_core.cli.progress import Lines, Remaining
from amgsrn_core.errors import AmgsrnError, ConfigurationError, VolumeError
from amgsrn_core.model import ModelIndex, read_index
from amgsrn_core.model.replacement import guard
from amgsrn_core.rendering.proportions import display_scale
from amgsrn_core.volume.replacement import FOLDER, Kind

FILM = Kind("a film", (".avi", ".ogv", ".mp4"))
_WRITERS = {".avi": vtkFFMPEGWriter, ".ogv": vtkOggTheoraWriter}
_DIGITS = 4


def run(main: Callable[[], None]) -> None:
    """Run a script; end with its error's sentence where there is one."""
    why = ""
    if not hasattr(pv, "AMGSRNReader"):
        why = "ParaView has no AMGSRN here; run this by `amgsrn pvpython` or `amgsrn pvbatch`."
    try:
        if not why:
            main()
    except AmgsrnError as error:
        why = str(error)
    pv.Disconnect()  # ParaView 5.11 crashes where a program exits while views are there
    if why:  # and not sys.exit(0), with which a rank of pvbatch would end before MPI does
        sys.exit(why)


def parser(script: str, about: str) -> argparse.ArgumentParser:
    """Return a parser whose help is what a script says of itself."""
    return argparse.ArgumentParser(
        prog=Path(script).stem,
        description=about,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def add_film_options(options: argparse.ArgumentParser, frames: int, opacity: float = 1.0) -> None:
    """Add what scripts have in common that make films of a model."""
    options.add_argument("model", metavar="MODEL.amgsrn")
    options.add_argument(
        "-o",
        "--output",
        metavar="FOLDER|FILE.avi|.ogv|.mp4",
        type=Path,
        required=True,
        help="a folder for pictures frame.0000.png and so on, or a film (.mp4 takes ffmpeg)",
    )
    options.add_argument("--frames", metavar="N", type=int, default=frames, help="(%(default)s)")
    options.add_argument("--rate", metavar="N", type=int, default=25, help="frames per second")
    options.add_argument("--size", metavar="W,H", default="960,720", help="pixels (%(default)s)")
    options.add_argument(
        "--time",
        metavar="all|N",
        default="0",
        help="of a series: the step from 0, or all of them in the course of the film",
    )
    options.add_argument("--array", metavar="NAME", help="component to colour by (the first)")
    options.add_argument(
        "--scale",
        metavar="X,Y,Z|auto",
        type=scale_factors,
        default="auto",
        help="factors that stretch the box along x, y, z",
    )
    options.add_argument(
        "--opacity",
        metavar="X",
        type=float,
        default=opacity,
        help="times the suggested opacities (%(default)s)",
    )
    options.add_argument("--shade", action="store_true", help="with the view's lights")


def model_index(path: str) -> ModelIndex:
    """Return the index of a model, so that a wrong file is told before ParaView starts."""
    return read_index(path)


def open_data(paths: list[str]) -> Any:
    """Return ParaView's source of a file, or of those of a series.

    Raises
    ------
    VolumeError
        There is no such file, or nothing that reads it.
    """
    for path in paths:
        if not Path(path).exists():
            raise VolumeError(f"There is no file {path}; check the name.")
    source = pv.OpenDataFile(paths if len(paths) > 1 else paths[0])
    if source is None:
        raise VolumeError(f"ParaView has no reader for {paths[0]}.")
    source.UpdatePipeline()
    return source


class Camera(NamedTuple):
    """Where a camera is, what it looks at, and which direction is up: three numbers each."""

    position: np.ndarray
    focus: np.ndarray
    up: np.ndarray


UP = np.array([0.0, 0.0, 1.0])


class Scene:
    """A model as Neural Volume, alone in a view.

    Attributes
    ----------
    view : proxy
    box : ndarray of float64 [3, 2]
        Ends of the box along x, y, z as it is shown.
    """

    def __init__(self, arguments: argparse.Namespace) -> None:
        index = model_index(arguments.model)
        self._arguments = arguments
        self._times = self._chosen_times(index)
        try:
            width, height = (int(text) for text in arguments.size.split(","))
        except ValueError:
            raise ConfigurationError(f"size must be W,H, not {arguments.size!r}.") from None
        pv._DisableFirstRenderCameraReset()
        self.view = pv.CreateView("RenderView")
        self.view.ViewSize, self.view.OrientationAxesVisibility = [width, height], 0
        self.view.UseColorPaletteForBackground, self.view.Background = 0, [1, 1, 1]
        model = pv.AMGSRNReader(FileName=arguments.model)
        model.UpdatePipeline()
        shown = pv.Show(model, self.view)
        kinds = shown.GetProperty("RepresentationTypesInfo").GetData()
        if "Neural Volume" not in kinds:
            raise ConfigurationError(
                "Films draw models as Neural Volume, and the compiled plugin is not here; "
                "scripts/build-neural-volume builds it."
            )
        shown.SetRepresentationType("Neural Volume")
        name = model.PointData.keys()[0]
        if arguments.array is None:
            pv.ColorBy(shown, ("POINTS", name))
        else:
            if arguments.array not in index.components:
                known = ", ".join(index.components)
                raise ConfigurationError(f"The model has no {arguments.array}; it has {known}.")
            number = index.components.index(arguments.array)
            pv.ColorBy(shown, ("POINTS", name, model.PointData[name].GetComponentName(number)))
        shown.SMProxy.InvokeCommand("NeuralSuggestOpacities")
        opacities = pv.GetOpacityTransferFunction(name)
        points = np.reshape(opacities.Points, (-1, 4))
        points[:, 1] = np.clip(arguments.opacity * points[:, 1], 0.0, 1.0)
        opacities.Points = points.ravel().tolist()
        shown.NeuralShade = int(arguments.shade)
        scale = np.array(display_scale(index.geometry, arguments.scale))
        shown.Scale = scale.tolist()
        self.box = np.reshape(index.geometry.bounds, (3, 2)) * scale[:, None]
        pv.ResetCamera(self.view)

    def fitting(self, away: np.ndarray, up: np.ndarray) -> Camera:
        """Return the camera in a direction from which what is visible fills the picture."""
        self._look(Camera(self.box.mean(axis=1) + away, self.box.mean(axis=1), up))
        pv.ResetCamera(self.view)
        return Camera(np.array(self.view.CameraPosition), np.array(self.view.CameraFocalPoint), up)

    def film(self, cameras: Iterable[Camera]) -> None:
        """Draw a picture by each camera."""
        arguments = self._arguments
        cameras = list(cameras)

        def draw(folder: Path) -> None:
            for number, camera in enumerate(cameras):
                if self._times:
                    self.view.ViewTime = self._times[number * len(self._times) // len(cameras)]
                self._look(camera)
                pv.Render(self.view)
                pv.SaveScreenshot(str(folder / frame(number)), self.view)
                show(number + 1, len(cameras))

        show = _progress()
        save_film(arguments.output, draw, arguments.rate)
        if _is_first_rank():
            print(f"{arguments.output}: {len(cameras)} pictures")

    def _look(self, camera: Camera) -> None:
        self.view.CameraPosition = camera.position.tolist()
        self.view.CameraFocalPoint = camera.focus.tolist()
        self.view.CameraViewUp = camera.up.tolist()

    def _chosen_times(self, index: ModelIndex) -> list[float]:
        wanted = self._arguments.time
        if wanted == "all" or not index.times:
            return list(index.times)
        step = int(wanted) if wanted.isdigit() else -1
        index.check_step(step)
        return [index.times[step]]


def frame(number: int) -> str:
    """Return the name of a film's picture."""
    return f"frame.{number:0{_DIGITS}d}.png"


def guard_film(arguments: argparse.Namespace, by: str) -> None:
    """Raise unless pictures can be written, or a film of this kind.

    Raises
    ------
    OutputError
        Something would be lost by it.
    ConfigurationError
        It is no film that can be written here, or has no frames.
    """
    output = arguments.output
    suffix = output.suffix.lower()
    if arguments.frames < 1 or arguments.rate < 1:
        raise ConfigurationError("A film needs one frame at least, and one in a second.")
    if suffix and suffix not in FILM.suffixes:
        known = " or ".join(FILM.suffixes)
        raise ConfigurationError(f"A film is {known}, not {suffix}; anything else is a folder.")
    if suffix == ".mp4" and shutil.which("ffmpeg") is None:
        raise ConfigurationError(
            "A film in .mp4 takes the program ffmpeg, which is not here; name an .avi or .ogv, "
            "which ParaView writes itself, or a folder for pictures."
        )
    guard(output, FILM if suffix else FOLDER, by=by, inputs=[arguments.model])


def save_film(output: Path, draw: Callable[[Path], None], rate: int) -> None:
    """Let pictures be drawn into a folder, or into a film by way of one."""
    if not output.suffix:
        output.mkdir(parents=True, exist_ok=True)
        draw(output)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        draw(folder)
        made = folder / f"film{output.suffix.lower()}"
        if made.suffix == ".mp4":
            pictures = str(folder / f"frame.%0{_DIGITS}d.png")
            words = ["ffmpeg", "-loglevel", "error", "-framerate", str(rate), "-i", pictures]
            subprocess.run([*words, "-pix_fmt", "yuv420p", str(made)], check=True)
        else:
            _write_film(made, sorted(folder.glob("frame.*.png")), rate)
        shutil.copyfile(made, output)


def _is_first_rank() -> bool:
    return pv.servermanager.vtkProcessModule.GetProcessModule().GetPartitionId() == 0


def _progress() -> Callable[[int, int], None]:
    """Return what shows how many pictures of how many there are, on the first rank."""
    remaining, lines = Remaining(), Lines("film")

    def show(done: int, total: int) -> None:
        if _is_first_rank():
            share = done / total
            lines.update(share, [f"{done}/{total} pictures", remaining.text(share)])

    return show


def _write_film(path: Path, pictures: list[Path], rate: int) -> None:
    reader, writer = vtkPNGReader(), _WRITERS[path.suffix]()
    writer.SetFileName(str(path))
    writer.SetRate(rate)
    writer.SetQuality(2)
    writer.SetInputConnection(reader.GetOutputPort())
    reader.SetFileName(str(pictures[0]))
    writer.Start()
    for picture in pictures:
        reader.SetFileName(str(picture))
        reader.Update()
        writer.Write()
    writer.End()
