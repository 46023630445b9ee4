"""Functions that take a model: keypoint matching, memory replay, video adaptation, smoothing (to come)."""
