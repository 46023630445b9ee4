"""Label sets as files of other programs; one module per format, what it cannot keep in each docstring."""
