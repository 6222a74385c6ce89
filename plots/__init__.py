"""Figures over finished runs: `python -m plots RUN [RUN ...]`; a run draws those that its key `figures` names."""
