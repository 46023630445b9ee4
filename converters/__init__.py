"""Foreign label formats to label records, merging, and a synthetic source."""
