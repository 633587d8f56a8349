"""The report of recognisers: errors are better when lower, everywhere; speed is told with what was written."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import yaml
from PIL import Image
from recogniser_fakes import ocr_results, recognisers, run, tiny_recogniser
from report_fakes import results
from test_report_page import Page
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import DonutImageProcessor, PreTrainedTokenizerFast, TrOCRProcessor

from textkd.report import build, load, model_card, plots, save, summary
from textkd.report.headline import headline, timing_noise
from textkd.report.layer_map import drawings
from textkd.report.page import render
from textkd.report.public import kept, more
from textkd.report.results import Results
from textkd.report.table import by_seed, comparison


def with_cer(student: list[float], control: list[float], teacher: float = 0.04) -> Results:
    data = recognisers(gallery=[])
    data["models"]["teacher"]["runs"] = [run(None, teacher, train_s=None)]
    data["models"]["student"]["runs"] = [run(i, v) for i, v in enumerate(student)]
    data["models"]["control"]["runs"] = [run(i, v) for i, v in enumerate(control)]
    return Results.model_validate(data)


def row(found: Results, label: str) -> list[tuple[str, str]]:
    (only,) = [r for r in comparison(found) if r.label == label]
    return [(cell.main, cell.sub) for cell in only.cells]


@pytest.mark.parametrize(
    ("student", "control", "words"),
    [
        (
            [0.052, 0.052],
            [0.07, 0.071],
            "reaches CER 0.0520 (lower is better), +0.0120 over the teacher's 0.0400, with 48%",
        ),
        (
            [0.052, 0.052],
            [0.07, 0.072],
            "Without a teacher the same student reaches 0.0710 instead of 0.0520 (+0.0310 over",
        ),
        ([0.03, 0.03], [0.07, 0.07], "reaches CER 0.0300 (lower is better), 0.0100 under the teacher's 0.0400, with"),
        ([0.04, 0.04], [0.07, 0.07], "reaches CER 0.0400 (lower is better), the same as the teacher's 0.0400, with"),
        ([0.03, 0.06], [0.07, 0.07], "over the teacher's 0.0400 (a difference within the spread), with"),
        ([0.06, 0.061], [0.05, 0.051], "Distilling did not help: without a teacher the same student reaches 0.0505"),
        ([0.06, 0.08], [0.061, 0.081], "No gain is shown: without a teacher the same student reaches 0.0710"),
        ([0.06], [0.07], "With one seed, chance is not ruled out."),
        ([0.06], [0.06], "The teacher made no difference"),
        ([float("nan")], [0.06], "The comparison failed"),
        ([0.04], [0.04], "Models that write the same for every input do that."),
    ],
)
def test_the_headline_subtracts_errors(student, control, words):
    said = headline(with_cer(student, control))
    assert words in said
    assert "keeps" not in said


def test_the_table_has_differences_and_says_which_way_is_better():
    found = with_cer([0.052], [0.03])
    assert row(found, "Difference from the teacher's") == [("–", ""), ("+0.0120", "worse"), ("-0.0100", "better")]  # noqa: RUF001
    assert [r.note for r in comparison(found) if r.label in ("CER", "WER", "exact lines")] == [
        "lower is better"
    ] * 2 + [""]
    assert [r.label for r in comparison(found) if r.strong] == ["CER"]
    page = Page(render(found)).text
    assert "Share of the teacher's" not in page
    assert "a difference under zero is for the student" in page
    assert "Cer" not in page
    assert by_seed(with_cer([0.052], [0.07]))[1][-1] == "-0.0180"


def test_an_exact_share_as_main_metric_is_better_when_higher():
    found = ocr_results(main_metric="exact", greater_is_better=True)
    assert "of the teacher's exact lines" in headline(found)
    notes = {r.label: r.note for r in comparison(found)}
    assert (notes["CER"], notes["exact lines"]) == ("lower is better", "")


def test_report_json_keeps_nothing_of_an_error_and_subtracts(tmp_path):
    found = with_cer([0.052], [0.07])
    save(tmp_path, found)
    assert load(tmp_path) == found
    build(tmp_path)
    public = json.loads((tmp_path / "report.json").read_text())
    assert public == summary(found)
    assert (public["kept"], public["greater_is_better"]) == (None, False)
    assert public["over_teacher"] == {"student": pytest.approx(0.012), "control": pytest.approx(0.03)}
    assert public["generation"] == {"num_beams": 1, "max_new_tokens": 128}
    student = public["student"]
    assert (student["encoder_share"], student["latency_tokens"], student["tokens_per_sample"]) == (0.28, 41, 38.4)
    assert student["one_by_one_per_s"] == pytest.approx(1000 / 98)
    assert kept(found) is None
    assert more(with_cer([float("nan")], [0.1]), "student", "teacher") is None


def test_speed_is_told_with_settings_tokens_and_both_sides():
    found = ocr_results()
    assert row(found, "Encoder's share")[0] == ("31%", "(encoder 65.7 ms, decoder 146 ms: 3.57 ms a token)")
    assert row(found, "Tokens written")[2] == ("38.4", "(43 in the batch of 1)")
    one, many = [r for r in comparison(found) if r.label == "Throughput"]
    assert (one.note, one.cells[1].main) == ("batch of 1", "10.2 texts/s")
    assert (many.note, many.cells[1].main) == ("batch of 16", "61.0 texts/s")
    page = Page(render(found)).text
    assert "generate() (num_beams 1, max_new_tokens 128; the same for all models and the metrics)" in page
    assert "forward passes" not in page


def test_what_was_not_measured_is_a_dash():
    data = recognisers(gallery=[])
    for model in data["models"].values():
        for name in ("encoder_share", "latency_tokens", "tokens_per_sample"):
            del model[name]
    found = Results.model_validate(data)
    assert row(found, "Encoder's share") == row(found, "Tokens written") == [("–", "")] * 3  # noqa: RUF001
    assert "wrote" not in headline(found)
    assert summary(found)["student"]["encoder_share"] is None


@pytest.mark.parametrize(("tokens", "told"), [(41, False), (44, False), (20, True), (128, True)])
def test_a_student_that_writes_another_length_is_told_beside_its_speed(tokens, told):
    data = recognisers(gallery=[])
    data["models"]["student"]["latency_tokens"] = tokens
    said = headline(Results.model_validate(data))
    assert (f"as fast (it wrote {tokens} tokens where the teacher wrote 41)." in said) == told


def test_latencies_of_texts_of_different_lengths_are_no_noise():
    data = recognisers(gallery=[])
    assert timing_noise(Results.model_validate(data)) is None
    data["models"]["control"]["latency_tokens"] = 41
    assert timing_noise(Results.model_validate(data)) == pytest.approx(101 / 98)


def test_encoder_and_decoder_blocks_are_drawn_apart():
    encoder, decoder = drawings(ocr_results())
    assert (encoder.title, len(encoder.targets), len(encoder.sources)) == ("Stage 1, encoder", 8, 4)
    assert (decoder.title, len(decoder.targets), len(decoder.sources)) == ("Stage 1, decoder", 4, 2)


@pytest.mark.long
@pytest.mark.parametrize(("greater", "label", "log"), [(False, "CER, lower is better", True), (True, "CER", False)])
@pytest.mark.usefixtures("whole_pictures")
def test_curves_of_errors_say_so_and_stand_on_a_logarithmic_axis(monkeypatch, greater, label, log):
    seen = []
    monkeypatch.setattr(plots, "_finish", lambda axes, results, ylabel, log: seen.append((ylabel, log)))
    data = recognisers(gallery=[], greater_is_better=greater)
    for role in ("student", "control"):
        for one in data["models"][role]["runs"]:
            one["history"][0]["eval"] = {"cer": 3.0}
    assert plots.metric_plot(Results.model_validate(data))
    assert seen == [(label, log)]


def test_an_encoder_share_outside_its_range_is_damage():
    data = recognisers(gallery=[])
    data["models"]["student"]["encoder_share"] = 1.2
    with pytest.raises(ValueError, match="encoder_share"):
        Results.model_validate(data)


def test_pages_of_text_runs_know_nothing_of_images():
    text = render(results())
    for word in ("gallery", "texts/s", "Encoder's share", "lower is better"):
        assert word not in text


def test_the_card_is_for_recognisers():
    card = model_card(ocr_results())
    front = yaml.safe_load(card.split("---\n")[1])
    assert front["pipeline_tag"] == "image-to-text"
    assert front["metrics"] == ["cer", "wer"]
    assert front["tags"] == ["distillation", "ocr", "textkd"]
    (entry,) = front["model-index"][0]["results"]
    assert entry["metrics"][0] == {"type": "cer", "name": "CER", "value": 0.052}
    assert "| CER (lower is better) | 0.0401 (as given) | 0.0520 ± 0.0007 (2 seeds) |" in card
    assert "| WER (lower is better) | 0.1043" in card
    assert "metrics and speeds: num_beams 1, max_new_tokens 128." in card
    assert "AutoTokenizer" not in card
    assert "metrics" not in yaml.safe_load(model_card(results()).split("---\n")[1])


@pytest.mark.slow
def test_the_cards_snippet_reads_an_image_without_textkd(tmp_path):
    words = {word: i for i, word in enumerate(["<s>", "<pad>", "</s>", "<unk>", *map(chr, range(97, 117))])}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(WordLevel(words, unk_token="<unk>")),
        bos_token="<s>", pad_token="<pad>", eos_token="</s>", unk_token="<unk>",
    )  # fmt: skip
    images = DonutImageProcessor(
        size={"height": 8, "width": 32}, do_align_long_axis=False, do_thumbnail=True, do_pad=True,
        image_mean=[0.5] * 3, image_std=[0.5] * 3,
    )  # fmt: skip
    TrOCRProcessor(images, tokenizer).save_pretrained(tmp_path / "model")
    tiny_recogniser().save_pretrained(tmp_path / "model")
    Image.new("L", (60, 20), 255).save(tmp_path / "line.png")
    card = model_card(ocr_results(gallery=[]))
    code = card.split("```python\n")[1].split("```")[0].replace("path/to/this/folder", "model")
    code += "import sys\nassert isinstance(text, str) and written.shape[1] > 1\nassert 'textkd' not in sys.modules\n"
    # The fakes' limit is longer than the tiny decoder's positions.
    code = code.replace("max_new_tokens=128", "max_new_tokens=8")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
