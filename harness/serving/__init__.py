"""Measurements of the served model: the same answers, refusals, load, endurance."""
