"""Measurements: accuracy on held-out data, speed, memory, import time, and what the published weights came from."""
