"""What the training of one network is for, beside its planned iterations."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Aim:
    """What the training of one network is for, beside its planned iterations; it pickles.

    Attributes
    ----------
    psnr : float
        Ends the training, in dB over the brick's own voxels, relative to `span`; 0 does not.
    spare : float
        Decibels more that the training has to reach, which compression may lose again.
    seconds : float
        End the training; 0 does not.
    pays : bool
        Whether to end sooner where more hardly makes a better model.
    most : int
        Iterations at most, where the planned ones are what is expected; 0 where they are both.
    most_nodes : int
        Nodes of a feature grid that there may be where the network's size is chosen by trying; 0
        where it is given.
    smallest : bool
        Whether that size is to be the one with which network and corrections have the fewest bytes.
    grows : bool
        Whether a larger network is tried where this one will not reach the PSNR.
    size : int
        Bytes that a compressed network may have; 0 for as many as its loss takes.
    rows : int
        Rows of the history that are kept, and do not count as bytes; 0 for as many as there is
        room for.
    hasty : bool
        Whether what comes after the training is to take as little time as it can: the
        macro-cells of large bricks come from samples at the voxels only.
    span : tuple of float
        Range of each component over all bricks; empty: the brick's own.
    """

    psnr: float = 0.0
    spare: float = 0.0
    seconds: float = 0.0
    pays: bool = False
    most: int = 0
    most_nodes: int = 0
    smallest: bool = False
    grows: bool = False
    size: int = 0
    rows: int = 0
    hasty: bool = False
    span: tuple[float, ...] = ()
