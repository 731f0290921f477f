"""What the computer offers: files written safely, memory, processes and their launchers."""
