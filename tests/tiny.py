"""Tiny models, tokenizers and tables on disk, as people keep them."""


def word_tokenizer(folder, pad="[PAD]", eos=None):
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = ["[PAD]", "[UNK]", "good", "bad", "so"]
    made = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    options = {k: v for k, v in {"pad_token": pad, "eos_token": eos}.items() if v}
    PreTrainedTokenizerFast(tokenizer_object=made, unk_token="[UNK]", **options).save_pretrained(folder)


def bert(folder, kind="BertForSequenceClassification", label2id=None, **options):
    import transformers

    if label2id:
        options |= {"label2id": label2id, "id2label": {i: name for name, i in label2id.items()}}
    config = transformers.BertConfig(
        vocab_size=5, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8,
        max_position_embeddings=16, **options,
    )  # fmt: skip
    net = getattr(transformers, kind)(config)
    net.save_pretrained(folder)
    word_tokenizer(folder)
    return net


def table(folder, labels, name="t.csv", **columns):
    import pandas as pd

    frame = pd.DataFrame({"text": ["good", "so bad"] * (len(labels) // 2), "label": labels, **columns})
    frame.to_csv(folder / name, index=False) if name.endswith("csv") else frame.to_parquet(folder / name)
    return str(folder / name)
