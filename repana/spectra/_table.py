"""The table of the spectra family: what it measures, in which unit, which way is better, by whose formula."""

from repana._cost import Cost, Size
from repana._deferred import deferred
from repana._quantity import Quantity
from repana._table import Across, Analyzer, Family

spectrum = deferred("repana.spectra._spectrum").spectrum
w_pca = deferred("repana.spectra._w_pca").w_pca
_across_layers = deferred("repana.spectra._across_layers")


def _cost(size: Size) -> Cost:
    n, d, side = size.n, size.d, min(size.n, size.d, 4_096)
    return Cost(
        flop=0.2 * side**3, bytes=44 * 8.0 * n * d, calls=2800, peak=8 * (0.5 * n * d + 3.6 * side**2 + 40 * n) + 1.5e7
    )


ANALYZERS = (
    Analyzer(
        spectrum,
        cost=_cost,
        quantities=(
            Quantity(
                "participation_ratio",
                "(sum lambda)^2 / sum lambda^2",
                unit="dimensions",
                title="Participation ratio",
                source="Gao et al. 2017",
            ),
            Quantity(
                "participation_ratio_unbiased",
                "unbiased (tr C)^2 / unbiased tr C^2",
                unit="dimensions",
                title="Participation ratio, corrected",
                source="Himeno & Yamada 2014; Chun et al. 2025",
                headline=True,
                counts=True,
            ),
            Quantity(
                "effective_rank",
                "exp H(sigma / sum sigma)",
                unit="dimensions",
                title="Effective rank",
                source="Roy & Vetterli 2007",
            ),
            Quantity(
                "entropy_rank",
                "exp H(lambda / sum lambda)",
                unit="dimensions",
                source="Roy & Vetterli 2007 (on eigenvalues)",
            ),
            Quantity(
                "rankme",
                "exp H(s / sum s + 1e-7), uncentred",
                unit="dimensions",
                title="RankMe",
                source="Garrido et al. 2023",
                invariant=("rotation", "scale"),
            ),
            Quantity(
                "stable_rank", "|X|_F^2 / |X|_2^2, centred", unit="dimensions", source="Rudelson & Vershynin 2007"
            ),
            Quantity("top_share", "lambda_1 / sum lambda", unit="share", source="by definition"),
            Quantity(
                "alpha",
                "-slope of log lambda_i on log i",
                title="Power-law exponent",
                source="Stringer et al. 2019; Agrawal et al. 2022",
            ),
            *(
                Quantity(
                    f"components_{p}",
                    f"fewest components with {p}% of the variance",
                    unit="dimensions",
                    source="by definition",
                )
                for p in (90, 95, 99)
            ),
        ),
    ),
)

ACROSS_LAYERS = (
    Across(
        w_pca,
        _across_layers.w_pca,
        default=False,
        of_texts=True,
        quantities=(
            Quantity(
                "w_pca",
                "parameters x components of all feed-forward hidden states",
                "higher",
                title="Weight-weighted PCA",
                source="Wang 2025",
                headline=True,
                counts=True,
            ),
            Quantity(
                "components",
                "sum over feed-forward parts of the fewest components with 99% of the variance",
                unit="dimensions",
                title="Components of hidden states",
                source="Wang 2025",
                counts=True,
            ),
        ),
    ),
)

SOURCES = {
    "Wang 2025": """@inproceedings{wang2025wpca,
  author = {Wang, Shang},
  title = {{W-PCA} Based Gradient-Free Proxy for Efficient Search of Lightweight Language Models},
  booktitle = {International Conference on Learning Representations}, year = {2025},
  eprint = {2504.15983}, archivePrefix = {arXiv}
}""",
    "Gao et al. 2017": """@misc{gao2017theory,
  author = {Gao, Peiran and Trautmann, Eric and Yu, Byron and Santhanam, Gopal and Ryu, Stephen
            and Shenoy, Krishna and Ganguli, Surya},
  title = {A Theory of Multineuronal Dimensionality, Dynamics and Measurement}, year = {2017},
  howpublished = {bioRxiv}, doi = {10.1101/214262}
}""",
    "Himeno & Yamada 2014": """@article{himeno2014estimations,
  author = {Himeno, Tetsuto and Yamada, Takayuki},
  title = {Estimations for Some Functions of Covariance Matrix in High Dimension under Non-Normality
           and Its Applications},
  journal = {Journal of Multivariate Analysis}, volume = {130}, pages = {27--44}, year = {2014},
  doi = {10.1016/j.jmva.2014.05.012}
}""",
    "Chun et al. 2025": """@misc{chun2025estimating,
  author = {Chun, Chanwoo and Canatar, Abdulkadir and Chung, SueYeon and Lee, Daniel},
  title = {Estimating Dimensionality of Neural Representations from Finite Samples}, year = {2025},
  eprint = {2509.26560}, archivePrefix = {arXiv}
}""",
    "Roy & Vetterli 2007": """@inproceedings{roy2007effective,
  author = {Roy, Olivier and Vetterli, Martin},
  title = {The Effective Rank: A Measure of Effective Dimensionality},
  booktitle = {European Signal Processing Conference}, pages = {606--610}, year = {2007}
}""",
    "Garrido et al. 2023": """@inproceedings{garrido2023rankme,
  author = {Garrido, Quentin and Balestriero, Randall and Najman, Laurent and LeCun, Yann},
  title = {{RankMe}: Assessing the Downstream Performance of Pretrained Self-Supervised Representations by Their Rank},
  booktitle = {International Conference on Machine Learning}, year = {2023},
  eprint = {2210.02885}, archivePrefix = {arXiv}
}""",
    "Rudelson & Vershynin 2007": """@article{rudelson2007sampling,
  author = {Rudelson, Mark and Vershynin, Roman},
  title = {Sampling from Large Matrices: An Approach through Geometric Functional Analysis},
  journal = {Journal of the ACM}, volume = {54}, number = {4}, year = {2007},
  doi = {10.1145/1255443.1255449}
}""",
    "Stringer et al. 2019": """@article{stringer2019high,
  author = {Stringer, Carsen and Pachitariu, Marius and Steinmetz, Nicholas and Carandini, Matteo
            and Harris, Kenneth D.},
  title = {High-Dimensional Geometry of Population Responses in Visual Cortex},
  journal = {Nature}, volume = {571}, pages = {361--365}, year = {2019},
  doi = {10.1038/s41586-019-1346-5}
}""",
    "Agrawal et al. 2022": """@inproceedings{agrawal2022alpha,
  author = {Agrawal, Kumar Krishna and Mondal, Arnab Kumar and Ghosh, Arna and Richards, Blake A.},
  title = {{$\\alpha$-ReQ}: Assessing Representation Quality in Self-Supervised Learning by Measuring
           Eigenspectrum Decay},
  booktitle = {Advances in Neural Information Processing Systems}, year = {2022}
}""",
}

FAMILY = Family(
    "spectra",
    ANALYZERS,
    across=ACROSS_LAYERS,
    sources=SOURCES,
)
