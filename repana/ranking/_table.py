"""The table of the ranking family: what each of its functions gives, and the sources."""

from repana._quantity import Quantity
from repana._table import Family

_TIES = "McSherry & Najork 2008"
RETRIEVAL = (
    Quantity("hit", "1 - prod C(m - r, t)/C(m, t)", "higher", title="Hit rate within k", source=_TIES, headline=True),
    Quantity("recall", "sum t r/(m R)", "higher", title="Recall within k", source=_TIES, headline=True),
    Quantity("recall_capped", "sum t r/(m min(R, k))", "higher", title="Recall within k, capped", source=_TIES),
    Quantity("precision", "sum t r/(m k)", "higher", title="Precision within k", source=_TIES),
    Quantity("ndcg", "DCG/max DCG, discounts 1/log2(place + 1)", "higher", title="nDCG within k",
             source="Järvelin & Kekäläinen 2002", headline=True),
    Quantity("mrr", "mean 1/place of the first relevant item", "higher", title="Mean reciprocal rank", source=_TIES),
    Quantity("map", "mean precision at the places of relevant items", "higher", title="Mean average precision",
             source=_TIES),
)  # fmt: skip
PAIRS = (
    Quantity("spearman", "correlation of mid-ranks", "higher", title="Spearman's correlation",
             source="Bonett & Wright 2000", headline=True),
    Quantity("pearson", "correlation", "higher", title="Pearson's correlation", source="by definition"),
    Quantity("auc", "P(match > other) + P(match = other)/2", "higher", title="AUC", source="DeLong et al. 1988",
             headline=True),
    Quantity("d_prime", "(m1 - m0)/sqrt((v1 + v0)/2)", "higher", title="d'", source="by definition"),
    Quantity("overlap", "1 - max |F1 - F0|", "lower", title="Overlap", source="by definition"),
    Quantity("tar", "share of matches accepted where a share f of others is", "higher",
             title="True accept rate at a false accept rate", source="by definition"),
    Quantity("accuracy", "share right at the threshold of the training pairs", "higher", source="by definition"),
    Quantity("f1", "2 tp/(2 tp + fp + fn) at the threshold of the training pairs", "higher", title="F1",
             source="by definition"),
)  # fmt: skip
CROSS_MODAL = (
    Quantity("i2t", "hit within k, image to text", "higher", title="Image to text", source=_TIES, headline=True),
    Quantity("i2t_share", "recall within k, image to text", "higher", title="Image to text, share", source=_TIES),
    Quantity("t2i", "hit within k, text to image", "higher", title="Text to image", source=_TIES, headline=True),
    Quantity("i2t_centered", "the same, each modality centred", "higher", title="Image to text, centred",
             source="Liang et al. 2022"),
    Quantity("t2i_centered", "the same, each modality centred", "higher", title="Text to image, centred",
             source="Liang et al. 2022"),
    Quantity("gap", "|mean u - mean v|", title="Modality gap", source="Liang et al. 2022", headline=True),
    Quantity("alignment", "mean |u - v|^2", "lower", title="Alignment", source="Wang & Isola 2020"),
    Quantity("uniformity_image", "ln mean exp(-2 |u_i - u_j|^2)", "lower", title="Uniformity of images",
             source="Wang & Isola 2020"),
    Quantity("uniformity_text", "ln mean exp(-2 |v_i - v_j|^2)", "lower", title="Uniformity of texts",
             source="Wang & Isola 2020"),
)  # fmt: skip
ZERO_SHOT = (
    Quantity("accuracy", "share of the nearest class of prompts right", "higher", source="Radford et al. 2021",
             headline=True),
    Quantity("balanced_accuracy", "mean share right of a class", "higher", source="Radford et al. 2021"),
)  # fmt: skip
REPORTED = {"retrieval": RETRIEVAL, "pair_scores": PAIRS, "cross_modal": CROSS_MODAL, "zero_shot": ZERO_SHOT}

SOURCES = {
    "McSherry & Najork 2008": """@inproceedings{mcsherry2008computing,
  author = {McSherry, Frank and Najork, Marc},
  title = {Computing Information Retrieval Performance Measures Efficiently in the Presence of Tied Scores},
  booktitle = {Advances in Information Retrieval (ECIR)}, year = {2008}, pages = {414--421},
  doi = {10.1007/978-3-540-78646-7_38}
}""",
    "Järvelin & Kekäläinen 2002": """@article{jarvelin2002cumulated,
  author = {J{\\"a}rvelin, Kalervo and Kek{\\"a}l{\\"a}inen, Jaana},
  title = {Cumulated Gain-Based Evaluation of {IR} Techniques},
  journal = {ACM Transactions on Information Systems}, volume = {20}, number = {4}, year = {2002}, pages = {422--446},
  doi = {10.1145/582415.582418}
}""",
    "Bonett & Wright 2000": """@article{bonett2000sample,
  author = {Bonett, Douglas G. and Wright, Thomas A.},
  title = {Sample Size Requirements for Estimating {Pearson}, {Kendall} and {Spearman} Correlations},
  journal = {Psychometrika}, volume = {65}, number = {1}, year = {2000}, pages = {23--28},
  doi = {10.1007/BF02294183}
}""",
    "DeLong et al. 1988": """@article{delong1988comparing,
  author = {DeLong, Elizabeth R. and DeLong, David M. and Clarke-Pearson, Daniel L.},
  title = {Comparing the Areas under Two or More Correlated Receiver Operating Characteristic Curves},
  journal = {Biometrics}, volume = {44}, number = {3}, year = {1988}, pages = {837--845}, doi = {10.2307/2531595}
}""",
    "Liang et al. 2022": """@inproceedings{liang2022mind,
  author = {Liang, Weixin and Zhang, Yuhui and Kwon, Yongchan and Yeung, Serena and Zou, James},
  title = {Mind the Gap: Understanding the Modality Gap in Multi-modal Contrastive Representation Learning},
  booktitle = {Advances in Neural Information Processing Systems}, year = {2022}, eprint = {2203.02053},
  archiveprefix = {arXiv}
}""",
    "Wang & Isola 2020": """@inproceedings{wang2020understanding,
  author = {Wang, Tongzhou and Isola, Phillip},
  title = {Understanding Contrastive Representation Learning through Alignment and Uniformity on the Hypersphere},
  booktitle = {International Conference on Machine Learning}, year = {2020}, eprint = {2005.10242},
  archiveprefix = {arXiv}
}""",
    "Radford et al. 2021": """@inproceedings{radford2021learning,
  author = {Radford, Alec and Kim, Jong Wook and Hallacy, Chris and others},
  title = {Learning Transferable Visual Models From Natural Language Supervision},
  booktitle = {International Conference on Machine Learning}, year = {2021}, eprint = {2103.00020},
  archiveprefix = {arXiv}
}""",
}
FAMILY = Family("ranking", (), (), {}, SOURCES)
