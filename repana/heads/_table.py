"""The table of the heads family: what is measured of attention maps, and the sources."""

from repana._quantity import Quantity
from repana._table import Family

ATTENTION = (
    Quantity("entropy", "-sum a ln a", unit="nats", title="Entropy of attention", source="Clark et al. 2019"),
    Quantity("entropy_share", "-sum a ln a/ln m", unit="share", title="Entropy over uniform",
             source="Clark et al. 2019", headline=True),
    Quantity("top_mass", "sum of the k largest a", unit="share", title="Mass of the largest", source="by definition"),
    Quantity("distance", "sum a |i - j|", unit="tokens", title="Distance of attention", source="Clark et al. 2019"),
    Quantity("distance_share", "sum a |i - j|/mean |i - j|", title="Distance over uniform",
             source="Clark et al. 2019", headline=True),
    Quantity("sink", "a of the first token", unit="share", title="On the first token", source="Xiao et al. 2024",
             headline=True),
    Quantity("previous", "a of the token in front", unit="share", title="On the token in front",
             source="Clark et al. 2019"),
    Quantity("rank", "exp H(s/sum s)", title="Effective rank of maps", source="Dong et al. 2021"),
    Quantity("stable_rank", "sum s^2/s_1^2", title="Stable rank of maps", source="Dong et al. 2021"),
    Quantity("write", "mean |w_h|", title="Norm of what is written", source="Kobayashi et al. 2020"),
    Quantity("share", "sum <w_h, o>/sum |o|^2", unit="share", title="Share of what is written",
             source="Kobayashi et al. 2020"),
)  # fmt: skip
REPORTED = {"attention": ATTENTION}

SOURCES = {
    "Clark et al. 2019": """@inproceedings{clark2019what,
  author = {Clark, Kevin and Khandelwal, Urvashi and Levy, Omer and Manning, Christopher D.},
  title = {What Does {BERT} Look At? An Analysis of {BERT}'s Attention},
  booktitle = {BlackboxNLP}, year = {2019}, eprint = {1906.04341}, archivePrefix = {arXiv}
}""",
    "Xiao et al. 2024": """@inproceedings{xiao2024efficient,
  author = {Xiao, Guangxuan and Tian, Yuandong and Chen, Beidi and Han, Song and Lewis, Mike},
  title = {Efficient Streaming Language Models with Attention Sinks},
  booktitle = {International Conference on Learning Representations}, year = {2024},
  eprint = {2309.17453}, archivePrefix = {arXiv}
}""",
    "Dong et al. 2021": """@inproceedings{dong2021attention,
  author = {Dong, Yihe and Cordonnier, Jean-Baptiste and Loukas, Andreas},
  title = {Attention Is Not All You Need: Pure Attention Loses Rank Doubly Exponentially with Depth},
  booktitle = {International Conference on Machine Learning}, year = {2021},
  eprint = {2103.03404}, archivePrefix = {arXiv}
}""",
    "Kobayashi et al. 2020": """@inproceedings{kobayashi2020attention,
  author = {Kobayashi, Goro and Kuribayashi, Tatsuki and Yokoi, Sho and Inui, Kentaro},
  title = {Attention is Not Only a Weight: Analyzing Transformers with Vector Norms},
  booktitle = {Empirical Methods in Natural Language Processing}, year = {2020},
  eprint = {2004.10102}, archivePrefix = {arXiv}
}""",
}
FAMILY = Family("heads", (), (), {}, SOURCES)
