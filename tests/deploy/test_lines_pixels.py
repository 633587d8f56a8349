"""Images of lines become the pixels that the processor makes of them, without torch; another processor is refused."""

from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import transformers as hf
from ocr_lab import processor
from PIL import Image

from textkd.deploy.lines_onnx import preparing_of
from textkd.errors import TextkdError
from textkd.tasks.ocr.processor import pixels

PLAIN = {"size": {"height": 16, "width": 64}, "image_mean": [0.5] * 3, "image_std": [0.5, 0.25, 1.0]}


def donut(**options: Any) -> Any:
    told = {"size": {"height": 16, "width": 64}, "do_align_long_axis": False, "image_mean": [0.5] * 3, **options}
    return hf.DonutImageProcessorPil(**{"image_std": [0.5] * 3, **told})


PROCESSORS: dict[str, Any] = {
    "of textkd": lambda: processor().image_processor,
    "turned": lambda: donut(do_align_long_axis=True),
    "bicubic": lambda: donut(resample=3, image_std=[0.2, 0.5, 0.9]),
    "no scale": lambda: donut(do_normalize=False, rescale_factor=0.5),
    "bytes": lambda: donut(do_normalize=False, do_rescale=False),
    "vit": lambda: hf.ViTImageProcessorPil(**PLAIN),
    "deit": lambda: hf.DeiTImageProcessorPil(**PLAIN, do_center_crop=False),
}


@pytest.mark.parametrize("kind", PROCESSORS)
def test_pixels_are_those_of_the_processor(kind: str, tmp_path: Path) -> None:
    both = SimpleNamespace(image_processor=PROCESSORS[kind]())
    made, far = preparing_of(both, "it")
    assert far == {"largest_difference": 0.0, "backend": "pil"}
    chance = np.random.default_rng(1)
    image = Image.fromarray(chance.integers(0, 256, (23, 80, 3), dtype=np.uint8))
    image.save(tmp_path / "line.png")
    grey = np.asarray(image)[:, :, 0]
    found = made.pixels([image, tmp_path / "line.png", np.asarray(image), grey])
    wanted = pixels(both, [image, image, image, Image.fromarray(grey).convert("RGB")])
    assert found.dtype == np.float32
    assert np.array_equal(found, wanted)


class Darker(hf.ViTImageProcessorPil):
    def normalize(self, image: Any, mean: Any, std: Any, **more: Any) -> Any:
        return super().normalize(image, mean, std, **more) - 0.01


class OnTorch(Darker):
    backend = "torchvision"


WRONG_PROCESSORS = {
    "center crop": (lambda: hf.DeiTImageProcessorPil(**PLAIN), "do_center_crop: true"),
    "the shorter side": (lambda: hf.ViTImageProcessorPil(size={"shortest_edge": 16}), "no height and width"),
    "other sums": (lambda: Darker(**PLAIN), "differ by up to 1.0e-02"),
}


@pytest.mark.parametrize("what", WRONG_PROCESSORS)
def test_a_processor_that_cannot_be_rebuilt_is_refused(what: str) -> None:
    make, told = WRONG_PROCESSORS[what]
    with pytest.raises(TextkdError, match=told):
        preparing_of(SimpleNamespace(image_processor=make()), "it")


def test_what_another_library_makes_of_pixels_is_measured_and_told(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "textkd"):
        _, far = preparing_of(SimpleNamespace(image_processor=OnTorch(**PLAIN)), "it")
    assert far == {"largest_difference": pytest.approx(0.01, abs=1e-5), "backend": "torchvision"}
    assert "in training with torchvision" in caplog.text
