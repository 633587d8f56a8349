"""Models that plain transformers cannot load, and the one door through which they are saved and loaded."""
