"""The one place that calls transformers' `from_pretrained`: code that lies in a model's folder is never run.

transformers asks at the prompt whether such code (`auto_map` in a JSON file of the folder) may run, wherever nobody
told it. Here it is always told, so nobody is asked.
"""

from __future__ import annotations

from typing import Any

import transformers

from textkd.errors import fail


def from_pretrained(loader: Any, source: str, **kwargs: Any) -> Any:
    """What `loader.from_pretrained(source, **kwargs)` returns, loaded by the classes of transformers alone.

    Args:
        loader: a class with `from_pretrained`: of a model, config, tokenizer or processor.
        source: a folder or a hub id.
        kwargs: further arguments of `from_pretrained`.

    Raises:
        TextkdError: `source` cannot be loaded without code of its own. All other errors are transformers'.
    """
    try:
        return loader.from_pretrained(source, trust_remote_code=False, **kwargs)
    except ValueError as error:
        if "trust_remote_code" not in str(error):
            raise
        found = "it needs Python code of its own (auto_map in its JSON files); code in model folders is never run"
        fix = "give a model, tokenizer or processor of a kind that transformers itself has (model_type in config.json)"
        raise fail(f"load {source}", found, fix=fix) from error


def saved_class(source: str) -> tuple[str, Any]:
    """The class that the config of `source` names in `architectures`.

    Returns:
        Its name ("" where there is none) and the class (None where transformers has none of this name).
    """
    name = (from_pretrained(transformers.AutoConfig, source).architectures or [""])[0]
    return name, getattr(transformers, name, None) if name else None
