"""What processes of the tests import beside what the tests have imported."""

import sklearn.metrics  # noqa: F401
import tiny_lab  # noqa: F401
import transformers.trainer  # noqa: F401
