"""Figures over finished runs: `python -m plots RUN [RUN ...]`, or at the end of a run by its key `figures`."""
