"""Models: every one is a `Staged` sequence of named stages."""
