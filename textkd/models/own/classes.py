"""A kind of models with classes of textkd's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from textkd.errors import fail


@dataclass(frozen=True)
class OwnClasses:
    """A `Kind` whose models have classes of their own.

    Args:
        config_class: of transformers' `PreTrainedConfig`, with a model_type of its own in memory.
        models: the class for each auto class, by its name (AutoModelForSequenceClassification); each has `Own` among
            its bases.
    """

    config_class: Any
    models: Mapping[str, Any]

    def config(self, values: dict[str, Any]) -> Any:
        """The config of what config.json says."""
        return self.config_class.from_dict(values)

    def model(self, loader: Any, config: Any) -> Any:
        """The class that `loader` means. Raises `TextkdError` where there is none."""
        if loader in self.models.values():
            return loader
        name = getattr(loader, "__name__", str(loader))
        if name not in self.models:
            found = f"a {config.model_type} is one of: {', '.join(self.models)}"
            raise fail(f"a {config.model_type} as {name}", found, near=(name, self.models), fix="use one of these")
        return self.models[name]

    def named(self, name: str) -> Any:
        """The class of this name; None where there is none."""
        return next((one for one in self.models.values() if one.__name__ == name), None)
