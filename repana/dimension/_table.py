"""The table of the dimension family: what it measures, in which unit, which way is better, by whose formula."""

from repana._cost import Cost, Size
from repana._deferred import deferred
from repana._quantity import Quantity
from repana._rule import CHECK, RESULT, Rule
from repana._table import Across, Analyzer, Family

_findings = deferred("repana.dimension._findings")
dimension_estimators = deferred("repana.dimension._estimators").dimension_estimators
dimension_profile = deferred("repana.dimension._profile").dimension_profile

text_dimension = deferred("repana.dimension._texts").text_dimension
_across_layers = deferred("repana.dimension._across_layers")

_FACCO = "Facco et al. 2017"


def _profile_cost(size: Size) -> Cost:
    """Of estimates from lists of neighbours, and of those of smaller parts."""
    lists = 8.0 * 64 * min(size.n, 20_000)
    rows = 8.0 * size.n * size.d
    return Cost(flop=0.06 * size.n**2 * size.d, bytes=1190 * lists + 45 * rows, calls=4800, peak=rows + 23 * lists)


def _estimators_cost(size: Size) -> Cost:
    """Of the directions to 64 neighbours of up to 2,000 samples, and of the neighbourhoods of the jackknife."""
    n, some = min(size.n, 20_000), min(size.n, 2_000)
    return Cost(
        flop=size.d * (155 * 500 * 64.0**2 + 126 * some * 100.0**2),
        bytes=211 * 8.0 * n * 64**2,
        calls=9e4,
        peak=4.3e8 + 8 * 40 * some * size.d,
    )


ANALYZERS = (
    Analyzer(
        dimension_profile,
        name="dimension",
        cost=_profile_cost,
        quantities=(
            Quantity(
                "two_nn",
                "slope of -log(1 - i/N) on log(r_2/r_1), 90%",
                unit="dimensions",
                title="TwoNN dimension",
                source=_FACCO,
                headline=True,
            ),
            Quantity("two_nn_ml", "(N - 1) / sum log(r_2/r_1)", unit="dimensions", title="TwoNN (ML)", source=_FACCO),
            Quantity(
                "two_nn_calibrated",
                "dimension of the ball whose samples give this estimate",
                unit="dimensions",
                title="TwoNN, calibrated",
                source=_FACCO,
                counts=True,
            ),
            Quantity(
                "mle",
                "19 / mean_i sum_{j<20} log(r_20/r_j)",
                unit="dimensions",
                title="MLE dimension (k = 20)",
                source="Levina & Bickel 2004; MacKay & Ghahramani 2005",
            ),
            *(
                Quantity(
                    f"gride_{n1}",
                    f"root of the likelihood of r_{2 * n1}/r_{n1}",
                    unit="dimensions",
                    title=f"GRIDE dimension ({n1}, {2 * n1})",
                    source="Denti et al. 2022",
                )
                for n1 in (2, 4, 8, 16, 32)
            ),
            Quantity(
                "gride_plateau",
                "mean of GRIDE over neighbouring scales that agree within 10%",
                unit="dimensions",
                title="GRIDE plateau",
                source="Denti et al. 2022",
            ),
        ),
    ),
    Analyzer(
        dimension_estimators,
        cost=_estimators_cost,
        default=False,
        quantities=tuple(
            Quantity(name, formula, unit="dimensions", title=title, source=source, drawn=name == "ph")
            for name, formula, title, source in (
                ("mind_ml", "root of the likelihood of r_1/r_21", "MiND-ML dimension", "Rozza et al. 2012"),
                ("tle", "tight local estimate, k = 20", "TLE dimension", "Amsaleg et al. 2019"),
                ("danco", "ball nearest in angles and norms, k = 10", "DANCo dimension", "Ceruti et al. 2014"),
                ("abid", "1 / mean cos^2 between neighbours", "ABID dimension", "Thordsen & Schubert 2022"),
                ("ess", "expected simplex skewness, inverted", "ESS dimension", "Johnsson et al. 2015"),
                (
                    "local_pca",
                    "mean count of local eigenvalues above 5% of the first",
                    "Local PCA dimension",
                    "Fukunaga & Olsen 1971",
                ),
                ("mom", "1 / mean_i (r_k - m_i)/m_i", "MOM dimension", "Amsaleg et al. 2018"),
                ("mada", "log 2 / mean_i log(r_20/r_10)", "MADA dimension", "Farahmand et al. 2007"),
                (
                    "correlation",
                    "slope of log C(r) between two radii",
                    "Correlation dimension",
                    "Grassberger & Procaccia 1983",
                ),
                ("ph", "1/(1 - slope of log tree length on log n)", "PH dimension", "Schweinhart 2020"),
            )
        ),
    ),
)

FINDINGS = {
    "RF401": Rule("Peak of the dimension", _findings.peak, RESULT, 65, "dimension.two_nn"),
    "RF402": Rule("Dimension and scale", _findings.scales, CHECK, 60, "dimension.gride_16"),
    "RF403": Rule("Samples for the dimension", _findings.shortfall, CHECK, 50, "dimension.two_nn_calibrated"),
    "RF404": Rule("Size of the splits", _findings.sizes, CHECK, 45, "dimension.two_nn"),
}

ACROSS_LAYERS = (
    Across(
        text_dimension,
        _across_layers.text_dimension,
        of_layer=deferred("repana.dimension._across_layers").MeanTextDimension,
        default=False,
        of_texts=True,
        quantities=(
            Quantity(
                "mean",
                "geometric mean over texts of the dimension of a text's tokens",
                unit="dimensions",
                title="Dimension of texts",
                source="Tulchinskii et al. 2023",
                headline=True,
                drawn=True,
                counts=True,
            ),
        ),
    ),
)

SOURCES = {
    "Tulchinskii et al. 2023": """@inproceedings{tulchinskii2023intrinsic,
  author = {Tulchinskii, Eduard and Kuznetsov, Kristian and Kushnareva, Laida and Cherniavskii, Daniil
            and Nikolenko, Sergey and Burnaev, Evgeny and Barannikov, Serguei and Piontkovskaya, Irina},
  title = {Intrinsic Dimension Estimation for Robust Detection of {AI}-Generated Texts},
  booktitle = {Advances in Neural Information Processing Systems}, year = {2023},
  eprint = {2306.04723}, archivePrefix = {arXiv}
}""",
    "Facco et al. 2017": """@article{facco2017estimating,
  author = {Facco, Elena and d'Errico, Maria and Rodriguez, Alex and Laio, Alessandro},
  title = {Estimating the Intrinsic Dimension of Datasets by a Minimal Neighborhood Information},
  journal = {Scientific Reports}, volume = {7}, pages = {12140}, year = {2017},
  doi = {10.1038/s41598-017-11873-y}
}""",
    "Levina & Bickel 2004": """@inproceedings{levina2004maximum,
  author = {Levina, Elizaveta and Bickel, Peter J.},
  title = {Maximum Likelihood Estimation of Intrinsic Dimension},
  booktitle = {Advances in Neural Information Processing Systems}, volume = {17}, year = {2004}
}""",
    "MacKay & Ghahramani 2005": """@misc{mackay2005comments,
  author = {MacKay, David J. C. and Ghahramani, Zoubin},
  title = {Comments on `Maximum Likelihood Estimation of Intrinsic Dimension' by {E. Levina and P. Bickel} (2004)},
  year = {2005}
}""",
    "Denti et al. 2022": """@article{denti2022generalized,
  author = {Denti, Francesco and Doimo, Diego and Laio, Alessandro and Mira, Antonietta},
  title = {The Generalized Ratios Intrinsic Dimension Estimator},
  journal = {Scientific Reports}, volume = {12}, pages = {20005}, year = {2022},
  doi = {10.1038/s41598-022-20991-1}
}""",
    "Rozza et al. 2012": """@article{rozza2012novel,
  author = {Rozza, Alessandro and Lombardi, Gabriele and Ceruti, Claudio and Casiraghi, Elena and Campadelli, Paola},
  title = {Novel High Intrinsic Dimensionality Estimators},
  journal = {Machine Learning}, volume = {89}, number = {1--2}, pages = {37--65}, year = {2012},
  doi = {10.1007/s10994-012-5294-7}
}""",
    "Amsaleg et al. 2019": """@inproceedings{amsaleg2019tight,
  author = {Amsaleg, Laurent and Chelly, Oussama and Houle, Michael E. and Kawarabayashi, Ken-ichi and Radovanovi{\\'c},
            Milo{\\v{s}} and Treeratanajaru, Weeris},
  title = {Intrinsic Dimensionality Estimation within Tight Localities},
  booktitle = {SIAM International Conference on Data Mining}, pages = {181--189}, year = {2019},
  doi = {10.1137/1.9781611975673.21}
}""",
    "Ceruti et al. 2014": """@article{ceruti2014danco,
  author = {Ceruti, Claudio and Bassis, Simone and Rozza, Alessandro and Lombardi, Gabriele and Casiraghi, Elena and
            Campadelli, Paola},
  title = {{DANCo}: An Intrinsic Dimensionality Estimator Exploiting Angle and Norm Concentration},
  journal = {Pattern Recognition}, volume = {47}, number = {8}, pages = {2569--2581}, year = {2014},
  doi = {10.1016/j.patcog.2014.02.013}
}""",
    "Thordsen & Schubert 2022": """@article{thordsen2022abid,
  author = {Thordsen, Erik and Schubert, Erich},
  title = {{ABID}: Angle Based Intrinsic Dimensionality --- Theory and Analysis},
  journal = {Information Systems}, volume = {108}, pages = {101989}, year = {2022},
  doi = {10.1016/j.is.2022.101989}
}""",
    "Johnsson et al. 2015": """@article{johnsson2015low,
  author = {Johnsson, Kerstin and Soneson, Charlotte and Fontes, Magnus},
  title = {Low Bias Local Intrinsic Dimension Estimation from Expected Simplex Skewness},
  journal = {IEEE Transactions on Pattern Analysis and Machine Intelligence}, volume = {37}, number = {1},
  pages = {196--202}, year = {2015}, doi = {10.1109/TPAMI.2014.2343220}
}""",
    "Fukunaga & Olsen 1971": """@article{fukunaga1971algorithm,
  author = {Fukunaga, Keinosuke and Olsen, David R.},
  title = {An Algorithm for Finding Intrinsic Dimensionality of Data},
  journal = {IEEE Transactions on Computers}, volume = {C-20}, number = {2}, pages = {176--183}, year = {1971},
  doi = {10.1109/T-C.1971.223208}
}""",
    "Amsaleg et al. 2018": """@article{amsaleg2018extreme,
  author = {Amsaleg, Laurent and Chelly, Oussama and Furon, Teddy and Girard, St{\\'e}phane and Houle, Michael E. and
            Kawarabayashi, Ken-ichi and Nett, Michael},
  title = {Extreme-Value-Theoretic Estimation of Local Intrinsic Dimensionality},
  journal = {Data Mining and Knowledge Discovery}, volume = {32}, number = {6}, pages = {1768--1805}, year = {2018},
  doi = {10.1007/s10618-018-0578-6}
}""",
    "Farahmand et al. 2007": """@inproceedings{farahmand2007manifold,
  author = {Farahmand, Amir massoud and Szepesv{\\'a}ri, Csaba and Audibert, Jean-Yves},
  title = {Manifold-Adaptive Dimension Estimation},
  booktitle = {International Conference on Machine Learning}, pages = {265--272}, year = {2007},
  doi = {10.1145/1273496.1273530}
}""",
    "Grassberger & Procaccia 1983": """@article{grassberger1983measuring,
  author = {Grassberger, Peter and Procaccia, Itamar},
  title = {Measuring the Strangeness of Strange Attractors},
  journal = {Physica D}, volume = {9}, number = {1--2}, pages = {189--208}, year = {1983},
  doi = {10.1016/0167-2789(83)90298-1}
}""",
    "Schweinhart 2020": """@article{schweinhart2020fractal,
  author = {Schweinhart, Benjamin},
  title = {Fractal Dimension and the Persistent Homology of Random Geometric Complexes},
  journal = {Advances in Mathematics}, volume = {372}, pages = {107291}, year = {2020},
  doi = {10.1016/j.aim.2020.107291}
}""",
}

FAMILY = Family(
    "dimension",
    ANALYZERS,
    across=ACROSS_LAYERS,
    findings=FINDINGS,
    sources=SOURCES,
)
