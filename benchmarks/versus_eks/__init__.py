"""Speed, memory and results of our ensemble Kalman smoothers beside the public package's, on the same files.

Run it with `python -m benchmarks.versus_eks`. ensemble-kalman-smoother is installed from PyPI into an
environment of its own and only used, never copied.
"""
