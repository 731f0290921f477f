"""Volumes in NetCDF files: conventions, references, filters, reading and writing."""
