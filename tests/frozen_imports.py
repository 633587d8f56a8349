"""What the processes of the tests are forked from has imported this."""

import gc

gc.disable()  # imports make much and throw nothing away
import sklearn.metrics  # noqa: F401
import tiny_lab  # noqa: F401
import transformers.trainer  # noqa: F401

gc.freeze()
gc.enable()
