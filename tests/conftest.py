"""Settings of all tests."""

from hypothesis import settings

# A deadline times the machine, not the code: CI has two noisy cores.
settings.register_profile("zoo", deadline=None)
settings.load_profile("zoo")
