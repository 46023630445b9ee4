"""Speed, memory and results of superanimal-zoo beside DeepLabCut's, on the same clip and weights.

Run it with `python -m benchmarks.versus_deeplabcut`. What is measured, and what it means, is printed with it.

DeepLabCut is installed from PyPI into an environment of its own and only used, never copied.
"""
