"""A camera as one matrix, and the rays that start from its pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from amgsrn_core.errors import ConfigurationError

# An eye this many times farther away than the clipping planes lie apart is at infinity: the
# projection is parallel, and the matrix says so up to rounding.
_INFINITELY_FAR = 1e9

# The original renderer's view angle, and its distance in units of the volume's largest edge.
ORBIT_ANGLE, ORBIT_DISTANCE = 60.0, 1.8


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

    Raises
    ------
    ConfigurationError
        A negative size, or a matrix that is not finite and invertible.
    """

    width: int
    height: int
    world_to_clip: np.ndarray

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
            World coordinates; `up` need not be perpendicular to the view.
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
            The position is the focal point, or `up` is along the view.
        """
        eye, focus = np.array(position, dtype=np.float64), np.array(focal_point, dtype=np.float64)
        distance = float(np.linalg.norm(eye - focus))
        if not distance:
            raise ConfigurationError("A camera's position and focal point must differ.")
        backward = (eye - focus) / distance
        right = np.cross(np.array(up, dtype=np.float64), backward)
        if np.linalg.norm(right) < 1e-12 * np.linalg.norm(up):
            raise ConfigurationError("A camera's up direction must not be along its view.")
        right /= np.linalg.norm(right)
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
    ) -> Camera:
        """Return a camera on a sphere round a volume, with the original renderer's angles.

        Parameters
        ----------
        bounds : six numbers
            World box x0, x1, y0, y1, z0, z1; the camera looks at its centre.
        azimuth : float, default: 0
            Degrees round the y axis; 0 looks from positive z, 90 from positive x.
        polar : float, default: 90
            Degrees from the positive y axis; 180 looks from below.
        distance : float, optional
            World units from the centre; default: 1.8 times the box's longest edge.
        """
        low, high = np.array(bounds[0::2], dtype=np.float64), np.array(bounds[1::2], np.float64)
        centre = (low + high) / 2.0
        longest = float((high - low).max())
        distance = ORBIT_DISTANCE * longest if distance is None else distance
        a, p = np.radians(azimuth), np.radians(polar)
        away = np.array([np.sin(a) * np.sin(p), np.cos(p), np.cos(a) * np.sin(p)])
        # Seen from a pole, y cannot be up; what was up just before becomes it.
        steep = abs(np.sin(p)) < 1e-6
        side = -np.cos(p) * np.array([np.sin(a), 0.0, np.cos(a)])
        up = side.tolist() if steep else [0.0, 1.0, 0.0]
        reach = abs(distance) + float(np.linalg.norm(high - low))
        return cls.look_at(
            (centre + distance * away).tolist(),
            centre.tolist(),
            up,
            width=width,
            height=height,
            view_angle=ORBIT_ANGLE,
            near=1e-4 * reach,
            far=reach,
        )

    def rays(self, pixels: np.ndarray | None = None, depth: np.ndarray | None = None) -> Rays:
        """Return the rays through the centres of pixels.

        Parameters
        ----------
        pixels : int64 array [N], optional
            ``row * width + column``, row 0 at the bottom as in OpenGL; default: all of them.
        depth : float32 array [height * width], optional
            Window depth 0 to 1 of what is opaque (1: nothing), where the rays end.
        """
        if pixels is None:
            pixels = np.arange(self.width * self.height)
        inverse = np.linalg.inv(self.world_to_clip)
        clip = np.empty((len(pixels), 4))
        clip[:, 0] = (pixels % max(self.width, 1) + 0.5) * (2.0 / max(self.width, 1)) - 1.0
        clip[:, 1] = (pixels // max(self.width, 1) + 0.5) * (2.0 / max(self.height, 1)) - 1.0
        clip[:, 3] = 1.0

        def unprojected(z: float | np.ndarray) -> np.ndarray:
            clip[:, 2] = z
            world = clip @ inverse.T
            return world[:, :3] / world[:, 3:]

        near, far = unprojected(-1.0), unprojected(1.0)
        directions = far - near
        length = np.linalg.norm(directions, axis=1, keepdims=True)
        directions /= length
        eye = inverse[:, 2]  # what the clip space's z direction, a point at infinity, is seen as
        if abs(eye[3]) * length.max(initial=0.0) * _INFINITELY_FAR > np.linalg.norm(eye[:3]):
            origins = np.broadcast_to(eye[:3] / eye[3], near.shape)
        else:
            origins = near - _dot(near, directions)[:, None] * directions
        if depth is not None:
            far = unprojected(2.0 * np.asarray(depth, dtype=np.float64).ravel()[pixels] - 1.0)
        return Rays(
            origins,
            directions,
            _dot(near - origins, directions),
            _dot(far - origins, directions),
            pixels,
        )


def _dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.einsum("ij,ij->i", a, b)
