"""A Hugging Face pipeline under watch, its weights random: ``python examples/transformers_app.py``."""

from pathlib import Path
from tempfile import TemporaryDirectory

from transformers import BertConfig, BertForSequenceClassification, BertTokenizer, pipeline

import davy

words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "bad", "day"]
with TemporaryDirectory() as directory:
    file = Path(directory) / "vocab.txt"
    file.write_text("\n".join(words))
    tokenizer = BertTokenizer(str(file))
config = BertConfig(
    vocab_size=len(words), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
)

classify = davy.watch(
    pipeline("text-classification", BertForSequenceClassification(config).eval(), tokenizer=tokenizer),
    "mood:1",
)
print(classify(["good day", "bad day"]))
davy.flush()
