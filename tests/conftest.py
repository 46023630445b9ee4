"""Settings of all tests."""

import pytest
from hypothesis import settings

# Helpers that assert, so that a failure shows the values.
pytest.register_assert_rewrite("web_page", "hub_datasets", "label_sets")

# A deadline times the machine, not the code: CI has two noisy cores.
settings.register_profile("zoo", deadline=None)
settings.load_profile("zoo")
