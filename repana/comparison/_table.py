"""The table of the comparison family: what reports of comparisons hold, their findings, and the sources of all
measures."""

from repana._deferred import deferred
from repana._quantity import Quantity
from repana._rule import CHECK, RESULT, Rule
from repana._table import Family

_findings = deferred("repana.comparison._findings")

_CKA = "<U(K), U(L)>/(|U(K)| |U(L)|), linear"
SIMILARITY = (
    Quantity("cka", _CKA, "", title="CKA, debiased", source="Kornblith et al. 2019", headline=True),
    Quantity(
        "cka_rbf",
        "<U(K), U(L)>/(|U(K)| |U(L)|), exp(-D^2/(2 median D^2))",
        title="CKA, RBF, debiased",
        source="Kornblith et al. 2019",
        headline=True,
    ),
    Quantity(
        "distance_correlation",
        "<U(D), U(E)>/(|U(D)| |U(E)|)",
        title="Distance correlation, corrected",
        source="Szekely & Rizzo 2013",
        headline=True,
    ),
    Quantity(
        "knn",
        "mean |N_a & N_b|/k",
        unit="share",
        title="Mutual nearest neighbours",
        source="Huh et al. 2024",
        headline=True,
    ),
    Quantity(
        "rsa",
        "Spearman's correlation of Euclidean distances",
        title="RSA, Spearman",
        source="Kriegeskorte et al. 2008",
        headline=True,
    ),
    Quantity(
        "procrustes",
        "<XR, Y>/(|XR| |Y|), R of the other half of the samples",
        title="Procrustes, held out",
        source="Ding et al. 2021",
        headline=True,
    ),
    Quantity(
        "cca",
        "mean correlation of canonical variates of the other half of the samples",
        title="CCA, held out",
        source="Raghu et al. 2017",
        headline=True,
    ),
    Quantity(
        "procrustes_biased",
        "|X'Y|_*/(|X| |Y|)",
        title="Procrustes, in sample",
        source="Ding et al. 2021",
        headline=True,
    ),
    Quantity("cca_biased", "mean rho", title="CCA, in sample", source="Raghu et al. 2017", headline=True),
    Quantity(
        "svcca_biased",
        "mean rho of components with 99% of the variance",
        title="SVCCA, in sample",
        source="Raghu et al. 2017",
        headline=True,
    ),
    Quantity(
        "r2",
        "1 - SSE/SST, held out, ridge from a to b",
        title="R\u00b2, a to b",
        source="Yamins et al. 2014",
        headline=True,
    ),
)
FLOORS = {"untrained": "with random weights", "other_seed": "another seed"}
DRIFT = (
    Quantity("cka", _CKA, title="CKA, debiased", source="Kornblith et al. 2019", headline=True),
    Quantity(
        "residual_share",
        "1 - (|c(X)'c(Y)|_*/(|c(X)| |c(Y)|))^2",
        title="Residual share",
        source="Ding et al. 2021",
        headline=True,
    ),
    Quantity("total", "|Y - X|^2/|X|^2", title="Total change", source="by definition", headline=True),
    Quantity(
        "knn",
        "mean |N_a & N_b|/k",
        unit="share",
        title="Mutual nearest neighbours",
        source="Huh et al. 2024",
        headline=True,
    ),
    Quantity(
        "r2_forward",
        "1 - SSE/SST, held out, before to after",
        title="R\u00b2, before to after",
        source="Yamins et al. 2014",
        headline=True,
    ),
    Quantity(
        "r2_backward",
        "1 - SSE/SST, held out, after to before",
        title="R\u00b2, after to before",
        source="Yamins et al. 2014",
        headline=True,
    ),
    Quantity("mean_share", "n |mean(Y - X)|^2/|Y - X|^2", title="Share of the shift", source="by definition"),
    Quantity(
        "after_rotation", "min_R |c(X)R - c(Y)|^2/|c(X)|^2", title="Change after rotation", source="Ding et al. 2021"
    ),
    Quantity("best_scale", "|c(X)'c(Y)|_*/|c(X)|^2", title="Best scale", source="Ding et al. 2021"),
    Quantity("row_cosine", "mean cosine of x_i and y_i", title="Cosine of samples", source="by definition"),
    Quantity("share_of_total", "residual share/sum over layers", title="Share of total drift", source="by definition"),
    Quantity(
        "disagreement",
        "share of samples with different predictions",
        unit="share",
        title="Disagreement",
        source="Fort et al. 2019",
    ),
    Quantity(
        "jsd", "mean Jensen-Shannon divergence", unit="bits", title="Jensen-Shannon divergence", source="Lin 1991"
    ),
    Quantity(
        "negative_flips",
        "share of samples right before and wrong after",
        "lower",
        unit="share",
        title="Negative flips",
        source="by definition",
    ),
    Quantity(
        "positive_flips",
        "share of samples wrong before and right after",
        "higher",
        unit="share",
        title="Positive flips",
        source="by definition",
    ),
    Quantity(
        "accuracy_difference", "accuracy after less before", "higher", title="Accuracy, change", source="by definition"
    ),
)
_PROBE, _AUC = "recall of forgotten samples by a linear probe", "area under the ROC curve of -loss"
UNLEARNING = (
    Quantity(
        "recovery",
        f"{_PROBE}, unlearned less reference",
        "lower",
        title="Recovery",
        source="Golatkar et al. 2020",
        headline=True,
    ),
    Quantity(
        "closeness_forget",
        "cka(unlearned, original) - cka(unlearned, retrained), forgotten samples",
        "lower",
        title="Closeness to the original",
        source="Kornblith et al. 2019",
        headline=True,
    ),
    Quantity(
        "recall_unlearned",
        _PROBE,
        unit="share",
        title="Recall, unlearned",
        source="Golatkar et al. 2020",
        headline=True,
    ),
    Quantity(
        "cka_original",
        _CKA + ", all rows",
        title="CKA with the original",
        source="Kornblith et al. 2019",
        headline=True,
    ),
    Quantity(
        "utility",
        "linear probe on retained samples, unlearned less reference",
        "higher",
        title="Utility",
        source="Fan et al. 2024",
        headline=True,
    ),
    Quantity(
        "knn_utility",
        "accuracy of 10 nearest neighbours on retained samples, unlearned less reference",
        "higher",
        title="Utility, neighbours",
        source="Fan et al. 2024",
    ),
    *(
        Quantity(
            f"cka_{model}_forget",
            _CKA + ", forgotten samples",
            title=f"CKA with the {model} network, forgotten samples",
            source="Kornblith et al. 2019",
        )
        for model in ("original", "retrained")
    ),
    Quantity(
        "closeness_retain",
        "cka(unlearned, original) - cka(unlearned, retrained), retained samples",
        "",
        title="Closeness, retained samples",
        source="Kornblith et al. 2019",
    ),
    Quantity("recall_original", _PROBE, unit="share", title="Recall, original", source="Golatkar et al. 2020"),
    Quantity("recall_retrained", _PROBE, unit="share", title="Recall, retrained", source="Golatkar et al. 2020"),
    *(
        Quantity(f"{what}_{model}", formula, unit="share", title=f"{title}, {model}", source="by definition")
        for what, title, formula in (
            ("retained", "Retained samples", "accuracy of a linear probe on retained samples"),
            ("knn", "Neighbours", "accuracy of 10 nearest neighbours on retained samples"),
        )
        for model in ("original", "unlearned", "retrained")
    ),
    *(
        Quantity(
            f"accuracy_{model}_{name}",
            "share of samples predicted right",
            unit="share",
            title=f"Accuracy on {name}, {model}",
            source="by definition",
        )
        for model in ("original", "unlearned", "retrained")
        for name in ("forget", "retain", "test")
    ),
    *(
        Quantity(f"{what}_{name}", formula, unit=unit, title=f"{title} on {name}", source=source)
        for what, title, formula, unit, source in (
            (
                "jsd",
                "Jensen-Shannon divergence",
                "mean Jensen-Shannon divergence from the reference",
                "bits",
                "Lin 1991",
            ),
            (
                "disagreement",
                "Disagreement",
                "share of predictions unlike the reference's",
                "share",
                "Fort et al. 2019",
            ),
        )
        for name in ("forget", "retain", "test")
    ),
    *(
        Quantity(f"attack_{model}", _AUC, "lower", title=f"Membership attack, {model}", source="Fan et al. 2024")
        for model in ("original", "unlearned", "retrained")
    ),
    Quantity(
        "attack_difference",
        f"{_AUC}, unlearned less retrained",
        "lower",
        title="Membership attack, difference",
        source="Fan et al. 2024",
    ),
)
REPORTED = {"similarity": SIMILARITY, "drift": DRIFT, "unlearning": UNLEARNING}

FINDINGS = {
    "RF701": Rule(
        "Agreement beyond architecture", _findings.beyond_floor, RESULT, 40, "similarity.cka", reads=("similarity",)
    ),
    "RF702": Rule("Similarity against its null", _findings.inside_null, CHECK, 60, reads=("similarity",)),
    "RF703": Rule("Measures agree", _findings.measures_disagree, CHECK, 40, reads=("similarity",)),
    "RF704": Rule("Layers can be told apart", _findings.constant_matrix, CHECK, 30, reads=("similarity",)),
    "RF705": Rule("Constant units", _findings.dead_units, CHECK, 20, reads=("similarity",)),
    "RF706": Rule("One sample decides", _findings.one_sample, CHECK, 50, reads=("similarity", "drift")),
    "RF707": Rule("Where the change begins", _findings.first_changed, RESULT, 40, "drift.cka", reads=("drift",)),
    "RF708": Rule("Unchanged layers", _findings.unchanged, CHECK, 30, reads=("drift",)),
    "RF709": Rule(
        "Residual knowledge of the forget set",
        _findings.forgotten,
        RESULT,
        50,
        "unlearning.recovery",
        reads=("unlearning",),
    ),  # fmt: skip
    "RF710": Rule("Reference of the unlearning", _findings.reference, CHECK, 50, reads=("unlearning",)),
    "RF711": Rule("Samples against features", _findings.width, CHECK, 25, reads=("similarity",)),
}

SOURCES = {
    "Kornblith et al. 2019": """@inproceedings{kornblith2019similarity,
  author = {Kornblith, Simon and Norouzi, Mohammad and Lee, Honglak and Hinton, Geoffrey},
  title = {Similarity of Neural Network Representations Revisited},
  booktitle = {International Conference on Machine Learning}, year = {2019}, eprint = {1905.00414}, archivePrefix =
  {arXiv}
}""",
    "Szekely & Rizzo 2013": """@article{szekely2013distance,
  author = {Sz{\\'e}kely, G{\\'a}bor J. and Rizzo, Maria L.},
  title = {The Distance Correlation t-Test of Independence in High Dimension},
  journal = {Journal of Multivariate Analysis}, volume = {117}, pages = {193--213}, year = {2013},
  doi = {10.1016/j.jmva.2013.02.012}
}""",
    "Szekely, Rizzo & Bakirov 2007": """@article{szekely2007measuring,
  author = {Sz{\\'e}kely, G{\\'a}bor J. and Rizzo, Maria L. and Bakirov, Nail K.},
  title = {Measuring and Testing Dependence by Correlation of Distances},
  journal = {Annals of Statistics}, volume = {35}, number = {6}, pages = {2769--2794}, year = {2007},
  doi = {10.1214/009053607000000505}
}""",
    "Huh et al. 2024": """@inproceedings{huh2024platonic,
  author = {Huh, Minyoung and Cheung, Brian and Wang, Tongzhou and Isola, Phillip},
  title = {The Platonic Representation Hypothesis}, booktitle = {International Conference on Machine Learning},
  year = {2024}, eprint = {2405.07987}, archivePrefix = {arXiv}
}""",
    "Kriegeskorte et al. 2008": """@article{kriegeskorte2008representational,
  author = {Kriegeskorte, Nikolaus and Mur, Marieke and Bandettini, Peter},
  title = {Representational Similarity Analysis: Connecting the Branches of Systems Neuroscience},
  journal = {Frontiers in Systems Neuroscience}, volume = {2}, year = {2008}, doi = {10.3389/neuro.06.004.2008}
}""",
    "Nili et al. 2014": """@article{nili2014toolbox,
  author = {Nili, Hamed and Wingfield, Cai and Walther, Alexander and Su, Li and Marslen-Wilson, William and
            Kriegeskorte, Nikolaus},
  title = {A Toolbox for Representational Similarity Analysis}, journal = {PLoS Computational Biology},
  volume = {10}, number = {4}, year = {2014}, doi = {10.1371/journal.pcbi.1003553}
}""",
    "Diedrichsen et al. 2020": """@misc{diedrichsen2020comparing,
  author = {Diedrichsen, J{\\"o}rn and Berlot, Eva and Mur, Marieke and Sch{\\"u}tt, Heiko H. and Shahbazi, Mahdiyar and
            Kriegeskorte, Nikolaus},
  title = {Comparing Representational Geometries Using Whitened Unbiased-Distance-Matrix Similarity}, year = {2020},
  eprint = {2007.02789}, archivePrefix = {arXiv}
}""",
    "Memoli 2011": """@article{memoli2011gromov,
  author = {M{\\'e}moli, Facundo}, title = {Gromov-Wasserstein Distances and the Metric Approach to Object Matching},
  journal = {Foundations of Computational Mathematics}, volume = {11}, pages = {417--487}, year = {2011},
  doi = {10.1007/s10208-011-9093-5}
}""",
    "Ding et al. 2021": """@inproceedings{ding2021grounding,
  author = {Ding, Frances and Denain, Jean-Stanislas and Steinhardt, Jacob},
  title = {Grounding Representation Similarity with Statistical Testing},
  booktitle = {Advances in Neural Information Processing Systems}, year = {2021}, eprint = {2108.01661},
  archivePrefix = {arXiv}
}""",
    "Williams et al. 2021": """@inproceedings{williams2021generalized,
  author = {Williams, Alex H. and Kunz, Erin and Kornblith, Simon and Linderman, Scott W.},
  title = {Generalized Shape Metrics on Neural Representations},
  booktitle = {Advances in Neural Information Processing Systems}, year = {2021}, eprint = {2110.14739},
  archivePrefix = {arXiv}
}""",
    "Raghu et al. 2017": """@inproceedings{raghu2017svcca,
  author = {Raghu, Maithra and Gilmer, Justin and Yosinski, Jason and Sohl-Dickstein, Jascha},
  title = {{SVCCA}: Singular Vector Canonical Correlation Analysis for Deep Learning Dynamics and Interpretability},
  booktitle = {Advances in Neural Information Processing Systems}, year = {2017}, eprint = {1706.05806},
  archivePrefix = {arXiv}
}""",
    "Morcos et al. 2018": """@inproceedings{morcos2018insights,
  author = {Morcos, Ari S. and Raghu, Maithra and Bengio, Samy},
  title = {Insights on Representational Similarity in Neural Networks with Canonical Correlation},
  booktitle = {Advances in Neural Information Processing Systems}, year = {2018}, eprint = {1806.05759},
  archivePrefix = {arXiv}
}""",
    "Hotelling 1936": """@article{hotelling1936relations,
  author = {Hotelling, Harold}, title = {Relations Between Two Sets of Variates}, journal = {Biometrika}, volume = {28},
  number = {3/4}, pages = {321--377}, year = {1936}, doi = {10.1093/biomet/28.3-4.321}
}""",
    "Boix-Adsera et al. 2022": """@inproceedings{boixadsera2022gulp,
  author = {Boix-Adsera, Enric and Lawrence, Hannah and Stepaniants, George and Rigollet, Philippe},
  title = {{GULP}: A Prediction-Based Metric between Representations},
  booktitle = {Advances in Neural Information Processing Systems}, year = {2022}, eprint = {2210.06545},
  archivePrefix = {arXiv}
}""",
    "Wang et al. 2022": """@article{wang2022embedding,
  author = {Wang, Chenxu and Rao, Wei and Guo, Wenna and Wang, Pinghui and Liu, Jun and Guan, Xiaohong},
  title = {Towards Understanding the Instability of Network Embedding}, journal = {IEEE Transactions on Knowledge and
           Data Engineering}, volume = {34}, number = {2}, pages = {927--941}, year = {2022},
  doi = {10.1109/TKDE.2020.2989512}
}""",
    "Yamins et al. 2014": """@article{yamins2014performance,
  author = {Yamins, Daniel L. K. and Hong, Ha and Cadieu, Charles F. and Solomon, Ethan A. and Seibert, Darren and
            DiCarlo, James J.},
  title = {Performance-Optimized Hierarchical Models Predict Neural Responses in Higher Visual Cortex},
  journal = {Proceedings of the National Academy of Sciences}, volume = {111}, number = {23}, pages = {8619--8624},
  year = {2014}, doi = {10.1073/pnas.1403112111}
}""",
    "Li et al. 2016": """@inproceedings{li2016convergent,
  author = {Li, Yixuan and Yosinski, Jason and Clune, Jeff and Lipson, Hod and Hopcroft, John},
  title = {Convergent Learning: Do Different Neural Networks Learn the Same Representations?},
  booktitle = {International Conference on Learning Representations}, year = {2016}, eprint = {1511.07543},
  archivePrefix = {arXiv}
}""",
    "Fort et al. 2019": """@misc{fort2019deep,
  author = {Fort, Stanislav and Hu, Huiyi and Lakshminarayanan, Balaji},
  title = {Deep Ensembles: A Loss Landscape Perspective}, year = {2019}, eprint = {1912.02757}, archivePrefix = {arXiv}
}""",
    "Lin 1991": """@article{lin1991divergence,
  author = {Lin, Jianhua}, title = {Divergence Measures Based on the {Shannon} Entropy},
  journal = {IEEE Transactions on Information Theory}, volume = {37}, number = {1}, pages = {145--151}, year = {1991},
  doi = {10.1109/18.61115}
}""",
    "Cohen 1960": """@article{cohen1960coefficient,
  author = {Cohen, Jacob}, title = {A Coefficient of Agreement for Nominal Scales},
  journal = {Educational and Psychological Measurement}, volume = {20}, number = {1}, pages = {37--46}, year = {1960},
  doi = {10.1177/001316446002000104}
}""",
    "Golatkar et al. 2020": """@inproceedings{golatkar2020eternal,
  author = {Golatkar, Aditya and Achille, Alessandro and Soatto, Stefano},
  title = {Eternal Sunshine of the Spotless Net: Selective Forgetting in Deep Networks},
  booktitle = {Conference on Computer Vision and Pattern Recognition}, year = {2020}, eprint = {1911.04933},
  archivePrefix = {arXiv}
}""",
    "Fan et al. 2024": """@inproceedings{fan2024salun,
  author = {Fan, Chongyu and Liu, Jiancheng and Zhang, Yihua and Wong, Eric and Wei, Dennis and Liu, Sijia},
  title = {{SalUn}: Empowering Machine Unlearning via Gradient-Based Weight Saliency in Both Image Classification and
           Generation},
  booktitle = {International Conference on Learning Representations}, year = {2024}, eprint = {2310.12508},
  archivePrefix = {arXiv}
}""",
}

FAMILY = Family("comparison", (), (), FINDINGS, SOURCES)
