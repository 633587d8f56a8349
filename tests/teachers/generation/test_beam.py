"""A vision-encoder-decoder teacher as a reader: the text of the best beam and the probability that it gives to it."""

import math

import pytest
import torch
import transformers as hf
from PIL import Image
from second_proofs import but_few
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from textkd.errors import TextkdError
from textkd.teachers.generation.labelling import teacher_reader

LETTERS = "abcdefghijklmnopqrstuvwx"
START, PAD, END = 2, 1, 2


def make_model(**encoder):
    torch.manual_seed(0)
    width = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
    vit = hf.ViTConfig(**{**width, "image_size": [8, 32], "patch_size": [8, 4], "hidden_dropout_prob": 0.3, **encoder})
    trocr = hf.TrOCRConfig(vocab_size=4 + len(LETTERS), d_model=16, decoder_layers=2, decoder_attention_heads=2,
                           decoder_ffn_dim=24, max_position_embeddings=12, dropout=0.3)  # fmt: skip
    config = hf.VisionEncoderDecoderConfig.from_encoder_decoder_configs(vit, trocr)
    config.decoder_start_token_id, config.pad_token_id, config.eos_token_id = START, PAD, END
    model = hf.VisionEncoderDecoderModel(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0, 0.4)
    settings = {"decoder_start_token_id": START, "pad_token_id": PAD, "eos_token_id": END, "max_length": 10}
    model.generation_config = hf.GenerationConfig(**settings)
    return model.train()


def make_processor(side=(8, 32)):
    vocabulary = {token: number for number, token in enumerate(["<s>", "<pad>", "</s>", "<unk>", *LETTERS])}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    inner.pre_tokenizer, inner.decoder = pre_tokenizers.Split("", "isolated"), decoders.Fuse()
    tokenizer = hf.PreTrainedTokenizerFast(
        tokenizer_object=inner, bos_token="<s>", pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    )
    pictures = hf.ViTImageProcessorPil(size={"height": side[0], "width": side[1]})
    return hf.TrOCRProcessor(pictures, tokenizer)


def images(count=5):
    torch.manual_seed(1)
    pixels = torch.randint(0, 256, (count, 8, 32, 3), dtype=torch.uint8)
    return [Image.fromarray(one.numpy()) for one in pixels]


def by_hand(model, processor, image):
    """Greedy search without `generate`: the text, and exp of the mean log-probability (0 where no end comes)."""
    pixels = processor(images=[image], return_tensors="pt").pixel_values
    ids, scores, end = [START], [], model.generation_config.eos_token_id
    while len(ids) < 10:
        logits = model(pixel_values=pixels, decoder_input_ids=torch.tensor([ids])).logits[0, -1]
        ids.append(int(logits.argmax()))
        scores.append(float(logits.double().log_softmax(-1).max()))
        if ids[-1] == end:
            text = "".join(LETTERS[number - 4] for number in ids[1:-1] if number >= 4)
            return text, math.exp(sum(scores) / len(scores))
    return "".join(LETTERS[number - 4] for number in ids[1:] if number >= 4), 0.0


def with_an_end(model, processor):
    """The same model with an end token that it writes, for some images and not first: random weights seldom do."""
    pixels, ends = processor(images=images(), return_tensors="pt").pixel_values, []
    model.eval()
    for end in range(4, 4 + len(LETTERS)):
        model.generation_config.eos_token_id = end
        written = [model.generate(pixel_values=pixels, num_beams=beams, do_sample=False) for beams in (1, 3)]
        ended = [(ids[:, 1:] == end).any(1) for ids in written]
        if all(one.any() and not one.all() for one in ended) and not (written[0][:, 1] == end).any():
            ends.append(end)
    model.generation_config.eos_token_id = ends[0]
    return model


@pytest.fixture(scope="module")
def pair():
    processor = make_processor()
    return with_an_end(make_model(), processor), processor


@pytest.mark.parametrize("batch_size", but_few([1, 2, 16], 2))
def test_greedy_text_and_confidence_are_those_of_a_plain_loop(pair, batch_size):
    model, processor = pair
    readings = teacher_reader(model, processor, num_beams=1, batch_size=batch_size, max_length=10)(images())
    model.eval()
    with torch.no_grad():
        wanted = [by_hand(model, processor, image) for image in images()]
    assert [text.replace(end_letter(model), "") for text, _ in readings] == [text for text, _ in wanted]
    assert [sure for _, sure in readings] == pytest.approx([sure for _, sure in wanted], abs=1e-5)
    assert any(0 < sure < 1 for _, sure in wanted)


def end_letter(model):
    """The processor takes the moved end for a letter."""
    return LETTERS[model.generation_config.eos_token_id - 4]


def test_beams_give_the_scores_that_generate_gives(pair):
    model, processor = pair
    readings = teacher_reader(model, processor, num_beams=3, max_length=10)(images())
    model.eval()
    pixels = processor(images=images(), return_tensors="pt").pixel_values
    out = model.generate(pixel_values=pixels, num_beams=3, do_sample=False, max_length=10,
                         return_dict_in_generate=True, output_scores=True)  # fmt: skip
    steps = model.compute_transition_scores(out.sequences, out.scores, out.beam_indices, normalize_logits=False)
    written = out.beam_indices[:, : steps.shape[1]] >= 0
    mean = (steps * written).sum(1) / written.sum(1)
    ended = (out.sequences[:, 1:] == model.generation_config.eos_token_id).any(1)
    assert [sure for _, sure in readings] == pytest.approx(torch.where(ended, mean.exp(), 0.0).tolist(), abs=1e-4)
    assert ended.any()
    assert [text for text, _ in readings] == processor.batch_decode(out.sequences, skip_special_tokens=True)


def test_texts_are_decoded_as_those_that_are_judged_and_images_prepared_as_asked(pair):
    model, processor = pair
    plain = teacher_reader(model, processor, num_beams=1)(images())
    tidy = make_processor()
    tidy.tokenizer.clean_up_tokenization_spaces = True
    tidy.tokenizer.clean_up_tokenization = lambda text: "moved"
    assert teacher_reader(model, tidy, num_beams=1)(images()) == plain
    blank = [Image.new("RGB", image.size) for image in images()]

    def pixels(given):
        assert given == images()[: len(given)]
        return processor(images=blank, return_tensors="np").pixel_values

    assert teacher_reader(model, processor, num_beams=1, pixels=pixels)(images()) == teacher_reader(
        model, processor, num_beams=1
    )(blank)


def test_a_text_that_does_not_end_has_no_confidence(pair):
    model, processor = pair
    assert {sure for _, sure in teacher_reader(model, processor, num_beams=1, max_length=2)(images())} == {0.0}


def test_modes_come_back_and_no_gradient_is_kept(pair):
    model, processor = pair
    model.train()
    model.encoder.eval()
    before, lines, own = [module.training for module in model.modules()], images(), model.generation_config
    one, two = (teacher_reader(model, processor, num_beams=2)(lines) for _ in range(2))
    assert one == two  # dropout 0.3 was off
    assert [module.training for module in model.modules()] == before
    assert model.generation_config is own
    assert all(parameter.grad is None for parameter in model.parameters())
    with pytest.raises(TypeError):
        teacher_reader(model, processor, num_beams=2)([None])
    assert model.generation_config is own
    assert [module.training for module in model.modules()] == before


def test_lengths_and_penalties_of_the_models_folder_do_not_count(pair):
    model, processor = pair
    reader = teacher_reader(model, processor, num_beams=2, max_length=10)
    wanted, own = reader(images()), model.generation_config
    changed = {"length_penalty": 9.0, "no_repeat_ngram_size": 1, "min_length": 9, "max_new_tokens": 4, "num_beams": 1}
    model.generation_config = hf.GenerationConfig(**{**own.to_dict(), **changed})
    try:
        assert teacher_reader(model, processor, num_beams=2, max_length=10)(images()) == wanted
    finally:
        model.generation_config = own


def test_the_callers_autocast_stays_outside(pair):
    model, processor = pair
    reader = teacher_reader(model, processor, num_beams=1)
    wanted = reader(images())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert reader(images()) == wanted
    low = teacher_reader(model, processor, num_beams=1, autocast=torch.bfloat16)
    assert low(images()) != wanted


def test_the_fingerprint_knows_weights_settings_and_processor():
    model, processor = make_model(), make_processor()
    first = teacher_reader(model, processor).fingerprint()
    assert teacher_reader(make_model(), make_processor()).fingerprint() == first
    others = [
        teacher_reader(model, processor, num_beams=2).fingerprint(),
        teacher_reader(model, processor, max_length=7).fingerprint(),
        teacher_reader(model, make_processor((8, 16))).fingerprint(),
    ]
    with torch.no_grad():
        model.decoder.model.decoder.layers[0].fc1.bias[0] += 1e-3
    others.append(teacher_reader(model, processor).fingerprint())
    assert len({first, *others}) == 5
    assert teacher_reader(model, processor, batch_size=3).fingerprint() == others[-1]


def test_settings_that_cannot_work_are_refused():
    model, processor = make_model(), make_processor()
    with pytest.raises(TextkdError, match="num_beams 0"):
        teacher_reader(model, processor, num_beams=0)
    with pytest.raises(TextkdError, match="max_length 1"):
        teacher_reader(model, processor, max_length=1)
    model.generation_config.eos_token_id = model.generation_config.decoder_start_token_id = None
    with pytest.raises(TextkdError, match=r"no decoder_start_token_id[\s\S]*no eos_token_id"):
        teacher_reader(model, processor)
