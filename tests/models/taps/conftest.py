"""Tiny random models of every supported architecture, built in memory."""

import copy

import pytest
import torch
import transformers as hf
from second_proofs import but_few

_TEXT = {"vocab_size": 40, "max_position_embeddings": 32, "num_labels": 3}
_WIDTH = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 24}
_VIT = {**_WIDTH, "image_size": 8, "patch_size": 4, "num_labels": 3, "attention_probs_dropout_prob": 0.1}
CONFIGS = {
    "bert": lambda: hf.BertConfig(**_TEXT, **_WIDTH),
    "roberta": lambda: hf.RobertaConfig(**_TEXT, **_WIDTH),
    "xlm-roberta": lambda: hf.XLMRobertaConfig(**_TEXT, **_WIDTH),
    "electra": lambda: hf.ElectraConfig(**_TEXT, **_WIDTH, embedding_size=12),
    "albert": lambda: hf.AlbertConfig(**_TEXT, **_WIDTH, embedding_size=12, attention_probs_dropout_prob=0.1),
    "distilbert": lambda: hf.DistilBertConfig(**_TEXT, dim=16, n_layers=3, n_heads=2, hidden_dim=24),
    "modernbert": lambda: hf.ModernBertConfig(
        **_TEXT, **_WIDTH, attention_dropout=0.1, local_attention=4, global_attn_every_n_layers=3,
        pad_token_id=0, bos_token_id=1, eos_token_id=2, cls_token_id=1, sep_token_id=2,
    ),
    "vit": lambda: hf.ViTConfig(**_VIT),
    "deit": lambda: hf.DeiTConfig(**_VIT, architectures=["DeiTForImageClassification"]),
}  # fmt: skip
ARCHITECTURES = tuple(CONFIGS)
TEXT_ARCHITECTURES = tuple(name for name in CONFIGS if name not in ("vit", "deit"))
UNLIKE = ("bert", "albert", "distilbert", "modernbert", "vit")  # the others have blocks as one of these
AUTO = {
    "sequence": hf.AutoModelForSequenceClassification,
    "image": hf.AutoModelForImageClassification,
    "tokens": hf.AutoModelForTokenClassification,
    "mlm": hf.AutoModelForMaskedLM,
    "bare": hf.AutoModel,
}


def build(name, head=None, implementation="sdpa"):
    """A tiny model in eval mode; large weights, so that attention is far from uniform."""
    head = head or ("image" if name in ("vit", "deit") else "sequence")
    torch.manual_seed(0)
    model = AUTO[head].from_config(CONFIGS[name](), attn_implementation=implementation)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0, 0.3)
    return model.eval()


def eager(model):
    """The same weights, on eager attention."""
    other = copy.deepcopy(model)
    other.set_attn_implementation("eager")
    return other


def batch_for(model, rows=3, length=9):
    """A batch with padding: row r ends with r pad tokens."""
    torch.manual_seed(1)
    if model.main_input_name == "pixel_values":
        return {"pixel_values": torch.randn(rows, 3, 8, 8)}
    ids = torch.randint(3, 40, (rows, length))
    mask = torch.ones_like(ids)
    for row in range(rows):
        mask[row, length - row :] = 0
    return {"input_ids": ids, "attention_mask": mask}


SIDED = ("vit", "deit")
TARGETS = torch.tensor([[5, 6, 7, 8, 9, 2], [9, 8, 7, 2, -100, -100], [4, 2, -100, -100, -100, -100]])


def build_sided(encoder="vit", implementation="sdpa", image_size=(8, 32), **decoder):
    """A tiny vision-encoder-decoder in eval mode: 3 blocks of 16, 2 of 24. ViT's output is projected to the decoder's
    width by the model, DeiT's by the decoder's own keys and values; DeiT's decoder differs in the rest too."""
    torch.manual_seed(0)
    config = type(CONFIGS[encoder]())(**{**_WIDTH, "image_size": list(image_size), "patch_size": [8, 4]})
    special = {"cross_attention_hidden_size": 16, "layernorm_embedding": False, "scale_embedding": True,
               "use_learned_position_embeddings": False} if encoder == "deit" else {}  # fmt: skip
    trocr = hf.TrOCRConfig(**{
        "vocab_size": 40, "d_model": 24, "decoder_layers": 2, "decoder_attention_heads": 2, "decoder_ffn_dim": 28,
        "max_position_embeddings": 30, "attention_dropout": 0.3, **special, **decoder,
    })  # fmt: skip
    both = hf.VisionEncoderDecoderConfig.from_encoder_decoder_configs(
        config, trocr, pad_token_id=1, decoder_start_token_id=2, eos_token_id=2
    )
    model = hf.VisionEncoderDecoderModel._from_config(both, attn_implementation={"encoder": implementation})
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0, 0.3)
    return model.eval()


def lines(extra=0, labels=TARGETS):
    """Three images of lines and their targets of 6, 4 and 2 tokens; extra: columns of padding more."""
    torch.manual_seed(1)
    labels = torch.nn.functional.pad(labels, (0, extra), value=-100)
    starts = torch.full_like(labels[:, :1], 2)
    ids = torch.cat([starts, labels[:, :-1]], 1).masked_fill(labels == -100, 1)
    return {"pixel_values": torch.randn(len(labels), 3, 8, 32), "decoder_input_ids": ids, "labels": labels}


@pytest.fixture(params=but_few(SIDED, "vit"))
def sided(request):
    """A tiny encoder-decoder with a ViT, and one with a DeiT."""
    return build_sided(request.param)


@pytest.fixture
def tiny_sided():
    return build_sided


@pytest.fixture
def line_batch():
    return lines


@pytest.fixture(params=ARCHITECTURES)
def architecture(request):
    return request.param


@pytest.fixture(params=but_few(ARCHITECTURES, *UNLIKE))
def unlike(request):
    """An architecture, as `architecture`; those that are like another one are left to the tests marked `long`."""
    return request.param


@pytest.fixture(params=TEXT_ARCHITECTURES)
def text_architecture(request):
    return request.param


@pytest.fixture
def tiny():
    return build


@pytest.fixture
def on_eager():
    return eager


@pytest.fixture
def inputs():
    return batch_for
