"""The folder of one `evaluate` module; read through `textkd.metrics.load("text_classification", config_name)`."""
