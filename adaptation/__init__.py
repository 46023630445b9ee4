"""Keypoint matching, memory replay, spatial pyramid, video adaptation, Kalman smoothing: functions that take a model."""
