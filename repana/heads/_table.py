"""The table of the heads family: what is measured of attention maps and routers, and the sources."""

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
    Quantity("sink_parameter", "1 - sum a", unit="share", title="On sinks that are parameters",
             source="Xiao et al. 2024"),
    Quantity("previous", "a of the token in front", unit="share", title="On the token in front",
             source="Clark et al. 2019"),
    Quantity("rank", "exp H(s/sum s)", title="Effective rank of maps", source="Dong et al. 2021"),
    Quantity("stable_rank", "sum s^2/s_1^2", title="Stable rank of maps", source="Dong et al. 2021"),
    Quantity("write", "mean |w_h|", title="Norm of what is written", source="Kobayashi et al. 2020"),
    Quantity("share", "sum <w_h, o>/sum |o|^2", unit="share", title="Share of what is written",
             source="Kobayashi et al. 2020"),
)  # fmt: skip
ROUTING = (
    Quantity("cv", "sd/mean of the load", "lower", title="Variation of load", source="Shazeer et al. 2017"),
    Quantity("effective", "exp H(load)", "higher", "experts", "Experts that the load is worth", "by definition",
             headline=True),
    Quantity("maximum", "e max load", "lower", title="Largest load over even", source="by definition"),
    Quantity("balance", "e sum load importance", "lower", title="Balance", source="Fedus et al. 2022"),
    Quantity("dead", "share of experts never chosen", "lower", "share", "Dead experts", "by definition"),
    Quantity("row_entropy", "mean H(p)", "", "nats", "Entropy of choices", "by definition"),
    Quantity("mean_entropy", "H(mean p)", "", "nats", "Entropy of their mean", "by definition"),
    Quantity("mutual", "H(mean p) - mean H(p)", "", "nats", "Information of token and expert", "by definition"),
    Quantity("purity", "sum_e max_c n_ec/n", "", "share", "Purity of experts", "by definition", headline=True),
    Quantity("uncertainty", "I(expert, class)/H(class)", "", "share", "Class known from the expert", "by definition"),
    Quantity("adjusted", "(I - E I)/(H - E I)", "", "share", "The same, beyond chance", "Vinh et al. 2010"),
    Quantity("of_word", "adjusted, token number for expert", "", "share", "The same, known from the word",
             "Vinh et al. 2010"),
    Quantity("of_position", "adjusted, position for expert", "", "share", "The same, known from the position",
             "Vinh et al. 2010"),
)  # fmt: skip
REPORTED = {"attention": ATTENTION, "routing": ROUTING}

SOURCES = {
    "Shazeer et al. 2017": """@inproceedings{shazeer2017outrageously,
  author = {Shazeer, Noam and Mirhoseini, Azalia and Maziarz, Krzysztof and others},
  title = {Outrageously Large Neural Networks: The Sparsely-Gated Mixture-of-Experts Layer},
  booktitle = {International Conference on Learning Representations}, year = {2017},
  eprint = {1701.06538}, archivePrefix = {arXiv}
}""",
    "Fedus et al. 2022": """@article{fedus2022switch,
  author = {Fedus, William and Zoph, Barret and Shazeer, Noam},
  title = {Switch Transformers: Scaling to Trillion Parameter Models with Simple and Efficient Sparsity},
  journal = {Journal of Machine Learning Research}, volume = {23}, year = {2022},
  eprint = {2101.03961}, archivePrefix = {arXiv}
}""",
    "Vinh et al. 2010": """@article{vinh2010information,
  author = {Vinh, Nguyen Xuan and Epps, Julien and Bailey, James},
  title = {Information Theoretic Measures for Clusterings Comparison: Variants, Properties, Normalization and
           Correction for Chance},
  journal = {Journal of Machine Learning Research}, volume = {11}, year = {2010}, pages = {2837--2854}
}""",
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
