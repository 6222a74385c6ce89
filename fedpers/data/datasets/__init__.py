"""Datasets: functions that load images and labels, one file a source."""
