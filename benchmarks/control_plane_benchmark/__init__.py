"""What benchmarks/control_plane.py measures."""
