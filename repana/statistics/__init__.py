"""Intervals, resampling, splits and nulls."""
