"""The one place that calls transformers' `from_pretrained`: code that lies in a model's folder is never run.

transformers asks at the prompt whether such code (`auto_map` in a JSON file of the folder) may run, wherever nobody
told it. Here it is always told, so nobody is asked. Nor is a kernel of the hub fetched and run because a config asks
for one (`attn_implementation: OWNER/NAME`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import transformers
from transformers.utils.peft_utils import find_adapter_config_file

from textkd.errors import fail
from textkd.models.own import door, marks
from textkd.models.regular import refuse_special

CODE = ("trust_remote_code", "custom_generate", "use_kernels", "kernel_config")
KERNELS = ("attn_implementation", "_attn_implementation", "experts_implementation", "_experts_implementation")


def from_pretrained(loader: Any, source: str, **kwargs: Any) -> Any:
    """What `loader.from_pretrained(source, **kwargs)` returns, loaded by the classes of transformers alone; of a folder
    that only textkd loads by those of `textkd.models.own`.

    Args:
        loader: a class with `from_pretrained`: of a model, config, tokenizer or processor.
        source: a folder or a hub id.
        kwargs: further arguments of `from_pretrained`, none of which asks for code.

    Raises:
        TextkdError: `source` cannot be loaded without code of its own, or that is asked for. All other errors are
            transformers'.
    """
    asking = [name for name in CODE if kwargs.pop(name, None)]
    asking += [f"{name}: {value}" for name, value in _kernels(kwargs)]
    if asking:
        fix = f"leave {', '.join(asking)} out"
        raise fail(f"load {source} with {', '.join(asking)}", "code of others is never run", fix=fix)
    refuse_special(Path(source), f"load {source}")
    is_model = hasattr(loader, "_from_config") or hasattr(loader, "from_config")  # or what finds its class
    told: Any = {}
    if is_model or _is_config(loader):
        with suppress(Exception):  # what is wrong with the config is told when it is loaded
            told, _ = transformers.PreTrainedConfig.get_config_dict(source)
    if is_model:
        for name, value in _kernels(told):
            found = f"its config.json asks for {name}: {value}, a kernel of the hub; code of others is never run"
            raise fail(f"load {source}", found, fix=f"take {name} out of config.json")
    if marks.is_own(told) and not is_model:
        return door.config_of(told, source)[1]
    if marks.is_own(told):
        loader, kwargs = door.loading_of(loader, source, told, kwargs)
    try:
        return loader.from_pretrained(source, trust_remote_code=False, **kwargs)
    except ValueError as error:
        if "trust_remote_code" not in str(error):
            raise
        found = "it needs Python code of its own (auto_map in its JSON files); code in model folders is never run"
        fix = "give a model, tokenizer or processor of a kind that transformers itself has (model_type in config.json)"
        raise fail(f"load {source}", found, fix=fix) from error


def _is_config(loader: Any) -> bool:
    if loader is transformers.AutoConfig:
        return True
    return isinstance(loader, type) and issubclass(loader, transformers.PreTrainedConfig)


def refuse_adapter(asked: str, source: str) -> None:
    """Raises `TextkdError` for the weights of an adapter (LoRA): where peft is installed, transformers loads the model
    that its config names in place of `source`, or changes the one beside it.

    Args:
        asked: what is loaded, for the message.
        source: a folder or a hub id.
    """
    found = None
    with suppress(Exception):  # what is wrong with the place is told when it is loaded
        found = find_adapter_config_file(source)
    if found is None:
        return
    base = ""
    with suppress(Exception):
        base = f" over {json.loads(Path(found).read_text(encoding='utf-8'))['base_model_name_or_path']}"
    fix = "merge it: PeftModel.from_pretrained(...).merge_and_unload().save_pretrained(FOLDER); else remove that file"
    raise fail(asked, f"its adapter_config.json says that it is an adapter{base}, not a whole model", fix=fix)


def _kernels(values: Any) -> Iterator[tuple[str, str]]:
    """(key, name) of every kernel of the hub that a config, or a part of it, asks for."""
    for name, value in values.items() if isinstance(values, Mapping) else ():
        if name in KERNELS:
            asked = value.values() if isinstance(value, Mapping) else [value]
            yield from ((name, one) for one in asked if isinstance(one, str) and "/" in one)
        elif isinstance(value, Mapping):
            yield from _kernels(value)


def saved_class(source: str) -> tuple[str, Any]:
    """The class that the config of `source` names in `architectures`.

    Returns:
        Its name ("" where there is none) and the class (None where nobody has one of this name).
    """
    config = from_pretrained(transformers.AutoConfig, source)
    name = (config.architectures or [""])[0]
    return name, door.class_named(config, name) if name else None
