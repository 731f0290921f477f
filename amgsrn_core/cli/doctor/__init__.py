"""``amgsrn doctor``: looks at this machine."""
