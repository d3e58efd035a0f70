"""The table of the kernels family: what it measures, in which unit, by whose formula."""

from repana._deferred import deferred
from repana._quantity import Quantity
from repana._rule import CHECK, Rule
from repana._table import Across, Family

_across_layers = deferred("repana.kernels._across_layers")
_findings = deferred("repana.kernels._findings")
ntk = deferred("repana.kernels._ntk").ntk

NTK = (
    Quantity("trace", "tr K/n", title="Size of the kernel", source="Jacot et al. 2018"),
    Quantity("share", "tr K_l/tr K", unit="share", title="Share of the kernel", source="Jacot et al. 2018",
             headline=True),
    Quantity("top_share", "lambda_1/sum lambda", unit="share", source="by definition"),
    Quantity("effective_rank", "exp H(lambda/sum lambda)", unit="dimensions", source="Roy & Vetterli 2007"),
    Quantity("participation", "(sum lambda)^2/sum lambda^2", unit="dimensions", source="Gao et al. 2017"),
    Quantity("condition", "lambda_1/lambda_n", "lower", title="Condition of the kernel", source="Jacot et al. 2018"),
    Quantity("alignment", "<HKH, HYY'H>/(|HKH| |HYY'H|)", "higher", title="Alignment with the labels",
             source="Cortes et al. 2012", headline=True),
    Quantity("learned", "1 - <K, K'>/(|K| |K'|), K' of untrained copies", "higher",
             title="Distance from untrained kernels", source="Fort et al. 2020"),
    Quantity("accuracy", "leave-one-out kernel ridge regression", "higher", "share", "Accuracy of the kernel",
             "Cortes et al. 2012"),
    Quantity("outside", "share of parameters in no recorded layer", unit="share", source="by definition"),
    Quantity("velocity", "1 - <K, K'>/(|K| |K'|)", title="Velocity of the kernel", source="Fort et al. 2020"),
)  # fmt: skip
REPORTED = {"ntk": NTK}

SOURCES = {
    "Jacot et al. 2018": """@inproceedings{jacot2018neural,
  author = {Jacot, Arthur and Gabriel, Franck and Hongler, Cl{\\'e}ment},
  title = {Neural Tangent Kernel: Convergence and Generalization in Neural Networks},
  booktitle = {Advances in Neural Information Processing Systems}, year = {2018},
  eprint = {1806.07572}, archivePrefix = {arXiv}
}""",
    "Cortes et al. 2012": """@article{cortes2012algorithms,
  author = {Cortes, Corinna and Mohri, Mehryar and Rostamizadeh, Afshin},
  title = {Algorithms for Learning Kernels Based on Centered Alignment},
  journal = {Journal of Machine Learning Research}, volume = {13}, pages = {795--828}, year = {2012}
}""",
    "Fort et al. 2020": """@inproceedings{fort2020deep,
  author = {Fort, Stanislav and Dziugaite, Gintare Karolina and Paul, Mansheej and Kharaghani, Sepideh and
            Roy, Daniel M. and Ganguli, Surya},
  title = {Deep Learning Versus Kernel Learning: An Empirical Study of Loss Landscape Geometry and the Time Evolution
           of the Neural Tangent Kernel},
  booktitle = {Advances in Neural Information Processing Systems}, year = {2020},
  eprint = {2010.15110}, archivePrefix = {arXiv}
}""",
}
ACROSS_LAYERS = (
    Across(
        ntk,
        _across_layers.ntk,
        quantities=NTK,
        of_layer=deferred("repana.kernels._across_layers").ProfiledKernel,
        default=False,
    ),
)
FINDINGS = {
    "RF901": Rule("Layers of the tangent kernel", _findings.one_layer, CHECK, 45, "ntk.share", ("ntk",)),
    "RF902": Rule("Tangent kernel and labels", _findings.aligned, CHECK, 44, "ntk.alignment", ("ntk",)),
    "RF903": Rule("Lazy training", _findings.lazy, CHECK, 43, "ntk.velocity", ("ntk",)),
}
FAMILY = Family("kernels", (), ACROSS_LAYERS, FINDINGS, SOURCES)
