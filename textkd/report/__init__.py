"""The report of a finished run: measuring, results.json, report.json, report.html, model cards."""

from textkd.report.build import build
from textkd.report.card import model_card
from textkd.report.generation import measure_generation
from textkd.report.lines import gallery
from textkd.report.measure import PeakMemory, disk_mb, hardware, parameters, short, versions, weights_mb
from textkd.report.public import summary
from textkd.report.results import Results, load, save
from textkd.report.speed import Speeds, measure_speed

__all__ = [
    "PeakMemory", "Results", "Speeds", "build", "disk_mb", "gallery", "hardware", "load", "measure_generation",
    "measure_speed", "model_card", "parameters", "save", "short", "summary", "versions",
    "weights_mb",
]  # fmt: skip
