"""Where work is done: processes on this computer or a cluster, and their devices."""
