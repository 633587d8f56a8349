"""The folder of one `evaluate` module; read through `textkd.metrics.load("cer")`."""
