"""
Experts of a mixture
====================

**Do routers spread tokens over their experts, and does an expert take tokens of its own kind?**

A Mixtral of four layers and eight experts with random weights, on words in two halves of its vocabulary: the router of
every layer on its own. Purity stands beside permuted labels, since it rises with the number of experts by itself. These
random routers lie a little above: they read the word, and here the class is one of words.
"""

import torch
from transformers import MixtralConfig, MixtralForCausalLM

from repana import plots
from repana.heads import routing

torch.manual_seed(0)
sizes = {"vocab_size": 200, "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 4}
model = MixtralForCausalLM(
    MixtralConfig(**sizes, num_attention_heads=4, num_key_value_heads=2, num_local_experts=8, num_experts_per_tok=2)
).eval()
ids = torch.randint(0, 200, (80, 16), generator=torch.Generator().manual_seed(0))
data = [{"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": (ids >= 100).long()}]
found = routing(model, data)
last = found[list(found.routers)[-1]]
print(f"purity {last.purity}, permuted labels {last.purity.null:.3f}, p = {last.purity.p:.3f}")
figure = plots.figure_of(plots.expert_load(found))
