"""``amgsrn bench``: how fast this machine computes."""
