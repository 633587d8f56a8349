"""Tasks of texts: classification, regression, multi-label, GLUE."""
