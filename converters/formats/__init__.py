"""One module per foreign label format; conventions and losses stand in each docstring."""
