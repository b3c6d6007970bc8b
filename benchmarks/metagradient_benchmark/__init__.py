"""Parts of benchmarks/metagradient.py."""
