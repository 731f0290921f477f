"""What several tests share: files, models, processes, and devices that are none."""
