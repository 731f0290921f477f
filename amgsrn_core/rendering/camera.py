"""A camera as one matrix, and the rays that start from its pixels."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from amgsrn_core.errors import ConfigurationError

# An eye this many times farther away than the clipping planes lie apart is at infinity: the
# projection is parallel, and the matrix says so up to rounding.
_INFINITELY_FAR = 1e9

# The original renderer's view angle, and that of VTK, under which things look less bent.
ORBIT_ANGLE, FILLING_ANGLE = 60.0, 30.0

# Of the picture's width and height, what a volume that fills it takes.
_FILLED = 0.97

# Where the poles of an orbit and its azimuth of 0 are, and where 90 is.
_POLES = {
    "y": ((0.0, 1.0, 0.0), (0.0, 0.0, 1.0), (1.0, 0.0, 0.0)),
    "z": ((0.0, 0.0, 1.0), (0.0, -1.0, 0.0), (1.0, 0.0, 0.0)),
}


@dataclass(frozen=True, eq=False)
class Rays:
    """Straight rays in the world: points ``origin + t * direction`` with near <= t < far.

    Parameters
    ----------
    origins : float64 array [N, 3]
        The eye; under parallel projection the ray's point nearest to the world's origin. Neither
        depends on the clipping planes, so samples counted from here stay where they are.
    directions : float64 array [N, 3]
        Unit vectors.
    near, far : float64 array [N]
        From the near clipping plane to the far one, or to the opaque surface in front of it.
    pixels : int64 array [N]
        The pixel of each ray, ``row * width + column`` with row 0 at the bottom.
    """

    origins: np.ndarray
    directions: np.ndarray
    near: np.ndarray
    far: np.ndarray
    pixels: np.ndarray

    def __len__(self) -> int:
        return len(self.origins)

    def __getitem__(self, part: slice | np.ndarray) -> Rays:
        return Rays(
            self.origins[part],
            self.directions[part],
            self.near[part],
            self.far[part],
            self.pixels[part],
        )


class PixelRays(Rays):
    """The rays of some pixels of a camera, worked out where somebody asks for their numbers.

    Parameters
    ----------
    camera : Camera
    pixels : int64 array [N] or range
        A range is of whole rows.
    depth : float32 array [height * width], optional
        See :meth:`Camera.rays`.
    """

    def __init__(
        self, camera: Camera, pixels: np.ndarray | range, depth: np.ndarray | None
    ) -> None:
        for name, value in (("camera", camera), ("pixels", pixels), ("depth", depth)):
            object.__setattr__(self, name, value)

    camera: Camera
    depth: np.ndarray | None

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, part: slice | np.ndarray) -> PixelRays:
        return PixelRays(self.camera, np.asarray(self.pixels)[part], self.depth)

    def __getattr__(self, name: str) -> np.ndarray:
        if name not in ("origins", "directions", "near", "far"):
            raise AttributeError(name)
        self.__dict__.update(self.camera.lines(np.asarray(self.pixels), self.depth))
        array: np.ndarray = self.__dict__[name]
        return array


@dataclass(frozen=True, eq=False)
class Camera:
    """An image size and the map from the world to OpenGL's clip space.

    Parameters
    ----------
    width, height : int
        Size of the image in pixels; may be 0.
    world_to_clip : float64 array [4, 4]
        Applied to columns (x, y, z, 1); visible is -w <= x, y, z <= w. Perspective and parallel
        projections alike, also those of a tile of a larger image.
    scale : three floats, default: 1, 1, 1
        By how much the matrix stretches the world along x, y, z before it looks at it. Opacities
        and light are those of the stretched world; see :func:`amgsrn_core.rendering.render`.

    Raises
    ------
    ConfigurationError
        A negative size, or a matrix that is not finite and invertible.
    """

    width: int
    height: int
    world_to_clip: np.ndarray
    scale: tuple[float, float, float] = (1.0, 1.0, 1.0)

    def __post_init__(self) -> None:
        if self.width < 0 or self.height < 0:
            raise ConfigurationError(
                f"An image cannot have {self.width} x {self.height} pixels; use at least 0 x 0."
            )
        matrix = np.array(self.world_to_clip, dtype=np.float64)
        if matrix.shape != (4, 4) or not np.isfinite(matrix).all() or not np.linalg.det(matrix):
            raise ConfigurationError("A camera's matrix must be finite, invertible and 4 x 4.")
        matrix.flags.writeable = False
        object.__setattr__(self, "world_to_clip", matrix)

    @classmethod
    def look_at(
        cls,
        position: Sequence[float],
        focal_point: Sequence[float],
        up: Sequence[float],
        *,
        width: int,
        height: int,
        view_angle: float = 30.0,
        parallel_scale: float | None = None,
        near: float | None = None,
        far: float | None = None,
    ) -> Camera:
        """Return a camera described as in VTK.

        Parameters
        ----------
        position, focal_point, up : three numbers each
            World coordinates; `up` need not be perpendicular to the view. Where it is along the
            view, another direction takes its place, as in VTK.
        width, height : int
            Pixels.
        view_angle : float, default: 30
            Angle over the image's height, in degrees.
        parallel_scale : float, optional
            Project in parallel; half of the image's height in world units.
        near, far : float, optional
            Distances of the clipping planes; default: a thousandth and a thousand times the focal
            point's.

        Raises
        ------
        ConfigurationError
            Position or focal point is not finite.
        """
        eye, focus = np.array(position, dtype=np.float64), np.array(focal_point, dtype=np.float64)
        distance = float(np.linalg.norm(eye - focus))
        if not np.isfinite(distance):
            raise ConfigurationError("A camera's position and focal point must be finite.")
        # Who stands where he looks at looks along -z, as VTK's camera does at first.
        backward = (eye - focus) / distance if distance else np.array([0.0, 0.0, 1.0])
        distance = distance or 1.0
        right = _across(np.array(up, dtype=np.float64), backward)
        view = np.eye(4)
        view[:3, :3] = right, np.cross(backward, right), backward
        view[:3, 3] = -view[:3, :3] @ eye
        near = 1e-3 * distance if near is None else near
        far = 1e3 * distance if far is None else far
        aspect = width / height if width and height else 1.0
        projection = np.zeros((4, 4))
        if parallel_scale is None:
            scale = 1.0 / np.tan(np.radians(view_angle) / 2.0)
            projection[2, 2:] = (far + near) / (near - far), 2.0 * far * near / (near - far)
            projection[3, 2] = -1.0
        else:
            scale = 1.0 / parallel_scale
            projection[2, 2:] = 2.0 / (near - far), (far + near) / (near - far)
            projection[3, 3] = 1.0
        projection[0, 0], projection[1, 1] = scale / aspect, scale
        return cls(width, height, projection @ view)

    @classmethod
    def orbit(
        cls,
        bounds: Sequence[float],
        *,
        width: int,
        height: int,
        azimuth: float = 0.0,
        polar: float = 90.0,
        distance: float | None = None,
        scale: Sequence[float] = (1.0, 1.0, 1.0),
        up: str = "y",
        outline: np.ndarray | None = None,
    ) -> Camera:
        """Return a camera on a sphere round a volume, with the original renderer's angles.

        See :func:`amgsrn_core.rendering.display_scale` for the scale of an uneven box.

        Parameters
        ----------
        bounds : six numbers
            World box x0, x1, y0, y1, z0, z1; the camera looks at its centre.
        azimuth : float, default: 0
            Degrees round the axis that is up; 0 looks from positive z where that is y, and from
            negative y where it is z, 90 from positive x.
        polar : float, default: 90
            Degrees from that axis; 180 looks from below.
        distance : float, optional
            World units, stretched, from the centre, at a view angle of 60 degrees; default: so that
            the box fills the picture, at 30 degrees.
        scale : three floats, default: 1, 1, 1
            By how much the world is stretched along x, y, z.
        up : {"y", "z"}, default: "y"
        outline : array [N, 3], optional
            World points that fill the picture in place of the box, where no distance is given.

        Raises
        ------
        ConfigurationError
            There is no such axis, or the distance is not a number.
        """
        if up not in _POLES:
            raise ConfigurationError(f"up must be y or z, not {up!r}.")
        stretch = np.array(scale, dtype=np.float64)
        low, high = (np.array(bounds[i::2], dtype=np.float64) * stretch for i in (0, 1))
        centre = (low + high) / 2.0
        a, p = np.radians(azimuth), np.radians(polar)
        pole, front, side = map(np.array, _POLES[up])
        level = np.sin(a) * side + np.cos(a) * front
        away = np.sin(p) * level + np.cos(p) * pole
        # Seen from a pole, that axis cannot be up; what was up just before becomes it.
        upwards = -np.cos(p) * level if abs(np.sin(p)) < 1e-6 else pole
        angle = ORBIT_ANGLE
        if distance is None:
            angle = FILLING_ANGLE
            corners = np.array(list(itertools.product(*zip(low, high))))
            points = corners if outline is None else np.asarray(outline) * stretch
            centre, distance = _filling(points, away, upwards, width, height)
        reach = abs(distance) + float(np.linalg.norm(high - low))
        camera = cls.look_at(
            (centre + distance * away).tolist(),
            centre.tolist(),
            upwards.tolist(),
            width=width,
            height=height,
            view_angle=angle,
            near=1e-4 * reach,
            far=reach,
        )
        matrix = camera.world_to_clip @ np.diag([*stretch, 1.0])
        x, y, z = stretch.tolist()
        return cls(width, height, matrix, (x, y, z))

    def displayed(self) -> Camera:
        """Return the camera that sees the stretched world as this one sees the world."""
        matrix = self.world_to_clip @ np.diag([*(1.0 / np.array(self.scale)), 1.0])
        return Camera(self.width, self.height, matrix)

    def turned(self, degrees: float, up: str, centre: Sequence[float]) -> Camera:
        """Return the camera that has gone round a point, as an orbit's azimuth goes.

        Parameters
        ----------
        degrees : float
        up : {"y", "z"}
            The axis round which it goes.
        centre : three floats
        """
        if up not in _POLES:
            raise ConfigurationError(f"up must be y or z, not {up!r}.")
        _, front, side = map(np.array, _POLES[up])
        cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
        turn = np.eye(3)
        # The world goes the other way.
        turn += (cosine - 1.0) * (np.outer(front, front) + np.outer(side, side))
        turn += sine * (np.outer(front, side) - np.outer(side, front))
        whole = np.eye(4)
        whole[:3, :3] = turn
        whole[:3, 3] = np.array(centre) - turn @ np.array(centre)
        return Camera(self.width, self.height, self.world_to_clip @ whole, self.scale)

    def rays(
        self, pixels: np.ndarray | range | None = None, depth: np.ndarray | None = None
    ) -> PixelRays:
        """Return the rays through the centres of pixels.

        Parameters
        ----------
        pixels : int64 array [N] or range, optional
            ``row * width + column``, row 0 at the bottom as in OpenGL; default: all of them. A
            range must be of whole rows.
        depth : float32 array [height * width], optional
            Window depth 0 to 1 of what is opaque (1: nothing), where the rays end.
        """
        if pixels is None:
            pixels = np.arange(self.width * self.height)
        return PixelRays(self, pixels, depth)

    @functools.cached_property
    def clip_to_world(self) -> np.ndarray:
        """The inverse matrix, float64 [4, 4]."""
        return np.linalg.inv(self.world_to_clip)

    @functools.cached_property
    def eye(self) -> np.ndarray | None:
        """Where all rays come from, float64 [3]; None under parallel projection."""
        # What the clip space's z direction, a point at infinity, is seen as.
        eye = self.clip_to_world[:, 2]
        corners = np.array([(x, y, 1.0) for x in (-1, 1) for y in (-1, 1)])
        near, far = (self._unprojected(corners[:, 0], corners[:, 1], z) for z in (-1.0, 1.0))
        length = np.linalg.norm(far - near, axis=1).max()
        if abs(eye[3]) * length * _INFINITELY_FAR > np.linalg.norm(eye[:3]):
            return np.asarray(eye[:3] / eye[3])
        return None

    @functools.cached_property
    def pixel_length(self) -> float:
        """World length of a pixel at distance 1 from the eye, or anywhere in parallel projection.

        It is that in the picture's middle, the geometric mean of width and height.
        """
        x, y = 1.0 / max(self.width, 1), 1.0 / max(self.height, 1)
        ends = self._unprojected(np.array([-x, x, 0, 0]), np.array([0, 0, -y, y]), 1.0)
        if self.eye is not None:
            ends = ends - self.eye
            ends /= np.linalg.norm(ends, axis=1, keepdims=True)
        across, up = np.linalg.norm(ends[1] - ends[0]), np.linalg.norm(ends[3] - ends[2])
        return float(np.sqrt(across * up))

    def lines(self, pixels: np.ndarray, depth: np.ndarray | None) -> dict[str, np.ndarray]:
        """Return origins, directions, near and far of :class:`Rays`; see :meth:`rays`."""
        x = (pixels % max(self.width, 1) + 0.5) * (2.0 / max(self.width, 1)) - 1.0
        y = (pixels // max(self.width, 1) + 0.5) * (2.0 / max(self.height, 1)) - 1.0
        near, far = self._unprojected(x, y, -1.0), self._unprojected(x, y, 1.0)
        directions = far - near
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        if self.eye is not None:
            origins = np.broadcast_to(self.eye, near.shape)
        else:
            origins = near - _dot(near, directions)[:, None] * directions
        if depth is not None:
            z = 2.0 * np.asarray(depth, dtype=np.float64).ravel()[pixels] - 1.0
            far = self._unprojected(x, y, z)
        return {
            "origins": origins,
            "directions": directions,
            "near": _dot(near - origins, directions),
            "far": _dot(far - origins, directions),
        }

    def _unprojected(self, x: np.ndarray, y: np.ndarray, z: float | np.ndarray) -> np.ndarray:
        """Return the world points [N, 3] of points in clip space."""
        clip = np.empty((len(x), 4))
        clip[:, 0], clip[:, 1], clip[:, 2], clip[:, 3] = x, y, z, 1.0
        world = clip @ self.clip_to_world.T
        points: np.ndarray = world[:, :3] / world[:, 3:]
        return points


def _across(up: np.ndarray, backward: np.ndarray) -> np.ndarray:
    """Return the unit vector to the right of a view; see :meth:`Camera.look_at`."""
    length = np.linalg.norm(up)
    right = np.cross(up, backward)
    if not np.linalg.norm(right) > 1e-12 * length:  # also where up is 0 or no number
        # As VTK's renderers do it.
        x, y, z = up if 0 < length < np.inf else backward
        up = np.array([-z, x, y])
        right = np.cross(up, backward)
    if not np.linalg.norm(right) > 1e-12 * np.linalg.norm(up):
        right = np.cross(np.eye(3)[np.abs(backward).argmin()], backward)
    return right / np.linalg.norm(right)


def _filling(
    points: np.ndarray, away: np.ndarray, up: np.ndarray, width: int, height: int
) -> tuple[np.ndarray, float]:
    """Return where to look, and from how far away, for points [N, 3] to fill the picture."""
    right = _across(up, away)
    reach = _FILLED * np.tan(np.radians(FILLING_ANGLE) / 2.0)
    aspect = width / height if width and height else 1.0
    towards = points @ away
    eye = np.zeros(3)
    distance = -np.inf
    # From both edges a line of sight just misses the points; the eye is where these lines meet.
    for across, slope in ((right, aspect * reach), (np.cross(away, right), reach)):
        beside = points @ across
        left = (beside - slope * towards).min()
        last = (beside + slope * towards).max()
        eye += 0.5 * (left + last) * across
        distance = max(distance, float(last - left) / (2.0 * slope))
    middle = 0.5 * float(towards.min() + towards.max())
    return eye + middle * away, (distance - middle) or 1.0  # points without any size


def _dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.einsum("ij,ij->i", a, b)
