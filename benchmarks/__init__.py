"""Measurements: accuracy on held-out data, speed, memory, import time; making the published weights."""
