"""The report of a finished run: measuring, results.json, report.json, report.html, model cards."""

from textkd.report.build import build
from textkd.report.card import model_card
from textkd.report.measure import PeakMemory, Speeds, disk_mb, hardware, measure_speed, parameters, versions
from textkd.report.results import Results, load, save, summary

__all__ = [
    "PeakMemory", "Results", "Speeds", "build", "disk_mb", "hardware", "load", "measure_speed", "model_card",
    "parameters", "save", "summary", "versions",
]  # fmt: skip
