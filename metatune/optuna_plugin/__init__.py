"""Optuna studies that start from what earlier studies learned."""
