"""Volumes in VTK's XML files and datasets."""
