"""The works that the table of analyzers names as sources, as BibTeX."""

from collections.abc import Iterable

ENTRIES: dict[str, str] = {
    "Papyan, Han & Donoho 2020": """@article{papyan2020prevalence,
  author = {Papyan, Vardan and Han, X. Y. and Donoho, David L.},
  title = {Prevalence of Neural Collapse during the Terminal Phase of Deep Learning Training},
  journal = {Proceedings of the National Academy of Sciences},
  volume = {117}, number = {40}, pages = {24652--24663}, year = {2020},
  doi = {10.1073/pnas.2015509117}
}""",
    "Zhu et al. 2021": """@inproceedings{zhu2021geometric,
  author = {Zhu, Zhihui and Ding, Tianyu and Zhou, Jinxin and Li, Xiao and You, Chong and Sulam, Jeremias and Qu, Qing},
  title = {A Geometric Analysis of Neural Collapse with Unconstrained Features},
  booktitle = {Advances in Neural Information Processing Systems}, year = {2021},
  eprint = {2105.02375}, archivePrefix = {arXiv}
}""",
    "Galanti et al. 2022": """@inproceedings{galanti2022role,
  author = {Galanti, Tomer and Gy{\\"o}rgy, Andr{\\'a}s and Hutter, Marcus},
  title = {On the Role of Neural Collapse in Transfer Learning},
  booktitle = {International Conference on Learning Representations}, year = {2022},
  eprint = {2112.15121}, archivePrefix = {arXiv}
}""",
    "Xu & Liu 2023": """@inproceedings{xu2023quantifying,
  author = {Xu, Jing and Liu, Haoxiong},
  title = {Quantifying the Variability Collapse of Neural Networks},
  booktitle = {International Conference on Machine Learning}, year = {2023},
  eprint = {2306.03440}, archivePrefix = {arXiv}
}""",
    "Tirer et al. 2023": """@inproceedings{tirer2023perturbation,
  author = {Tirer, Tom and Huang, Haoxiang and Niles-Weed, Jonathan},
  title = {Perturbation Analysis of Neural Collapse},
  booktitle = {International Conference on Machine Learning}, pages = {34301--34329}, year = {2023},
  eprint = {2210.16658}, archivePrefix = {arXiv}
}""",
    "He & Su 2023": """@article{he2023law,
  author = {He, Hangfeng and Su, Weijie J.},
  title = {A Law of Data Separation in Deep Learning},
  journal = {Proceedings of the National Academy of Sciences},
  volume = {120}, number = {36}, pages = {e2221704120}, year = {2023},
  doi = {10.1073/pnas.2221704120}
}""",
    "Dang et al. 2023": """@inproceedings{dang2023neural,
  author = {Dang, Hien and Tran, Tho and Osher, Stanley and Tran-The, Hung and Ho, Nhat and Nguyen, Tan},
  title = {Neural Collapse in Deep Linear Networks: From Balanced to Imbalanced Data},
  booktitle = {International Conference on Machine Learning}, year = {2023},
  eprint = {2301.00437}, archivePrefix = {arXiv}
}""",
    "Liu et al. 2023": """@inproceedings{liu2023generalizing,
  author = {Liu, Weiyang and Yu, Longhui and Weller, Adrian and Sch{\\"o}lkopf, Bernhard},
  title = {Generalizing and Decoupling Neural Collapse via Hyperspherical Uniformity Gap},
  booktitle = {International Conference on Learning Representations}, year = {2023},
  eprint = {2303.06484}, archivePrefix = {arXiv}
}""",
    "Jiang et al. 2023": """@misc{jiang2023generalized,
  author = {Jiang, Jiachen and Zhou, Jinxin and Wang, Peng and Qu, Qing and Mixon, Dustin
            and You, Chong and Zhu, Zhihui},
  title = {Generalized Neural Collapse for a Large Number of Classes}, year = {2023},
  eprint = {2310.05351}, archivePrefix = {arXiv}
}""",
    "Wu & Papyan 2024": """@inproceedings{wu2024linguistic,
  author = {Wu, Robert and Papyan, Vardan},
  title = {Linguistic Collapse: Neural Collapse in (Large) Language Models},
  booktitle = {Advances in Neural Information Processing Systems}, year = {2024},
  eprint = {2405.17767}, archivePrefix = {arXiv}
}""",
    "Fukunaga 1990": """@book{fukunaga1990introduction,
  author = {Fukunaga, Keinosuke},
  title = {Introduction to Statistical Pattern Recognition}, edition = {2}, publisher = {Academic Press}, year = {1990}
}""",
    "Lawley 1938": """@article{lawley1938generalization,
  author = {Lawley, D. N.},
  title = {A Generalization of {Fisher's} z Test},
  journal = {Biometrika}, volume = {30}, pages = {180--187}, year = {1938}
}""",
    "Hotelling 1951": """@inproceedings{hotelling1951generalized,
  author = {Hotelling, Harold},
  title = {A Generalized {T} Test and Measure of Multivariate Dispersion},
  booktitle = {Proceedings of the Second Berkeley Symposium on Mathematical Statistics and Probability},
  pages = {23--41}, year = {1951}
}""",
    "Roy 1953": """@article{roy1953heuristic,
  author = {Roy, S. N.},
  title = {On a Heuristic Method of Test Construction and its Use in Multivariate Analysis},
  journal = {The Annals of Mathematical Statistics}, volume = {24}, pages = {220--238}, year = {1953}
}""",
    "Pillai 1955": """@article{pillai1955some,
  author = {Pillai, K. C. S.},
  title = {Some New Test Criteria in Multivariate Analysis},
  journal = {The Annals of Mathematical Statistics}, volume = {26}, pages = {117--121}, year = {1955}
}""",
    "Fisher 1925": """@book{fisher1925statistical,
  author = {Fisher, R. A.},
  title = {Statistical Methods for Research Workers}, publisher = {Oliver and Boyd}, year = {1925}
}""",
    "Fisher 1936": """@article{fisher1936use,
  author = {Fisher, R. A.},
  title = {The Use of Multiple Measurements in Taxonomic Problems},
  journal = {Annals of Eugenics}, volume = {7}, pages = {179--188}, year = {1936},
  doi = {10.1111/j.1469-1809.1936.tb02137.x}
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
    "Rousseeuw 1987": """@article{rousseeuw1987silhouettes,
  author = {Rousseeuw, Peter J.},
  title = {Silhouettes: A Graphical Aid to the Interpretation and Validation of Cluster Analysis},
  journal = {Journal of Computational and Applied Mathematics}, volume = {20}, pages = {53--65}, year = {1987},
  doi = {10.1016/0377-0427(87)90125-7}
}""",
    "Calinski & Harabasz 1974": """@article{calinski1974dendrite,
  author = {Cali{\\'n}ski, Tadeusz and Harabasz, Jerzy},
  title = {A Dendrite Method for Cluster Analysis},
  journal = {Communications in Statistics}, volume = {3}, number = {1}, pages = {1--27}, year = {1974},
  doi = {10.1080/03610927408827101}
}""",
    "Davies & Bouldin 1979": """@article{davies1979cluster,
  author = {Davies, David L. and Bouldin, Donald W.},
  title = {A Cluster Separation Measure},
  journal = {IEEE Transactions on Pattern Analysis and Machine Intelligence}, volume = {PAMI-1}, number = {2},
  pages = {224--227}, year = {1979}, doi = {10.1109/TPAMI.1979.4766909}
}""",
    "Schilling et al. 2021": """@article{schilling2021quantifying,
  author = {Schilling, Achim and Maier, Andreas and Gerum, Richard and Metzner, Claus and Krauss, Patrick},
  title = {Quantifying the Separability of Data Classes in Neural Networks},
  journal = {Neural Networks}, volume = {139}, pages = {278--293}, year = {2021},
  doi = {10.1016/j.neunet.2021.03.035}
}""",
    "Guan & Loew 2022": """@article{guan2022distance,
  author = {Guan, Shuyue and Loew, Murray},
  title = {A Novel Intrinsic Measure of Data Separability},
  journal = {Applied Intelligence}, year = {2022}, eprint = {2109.05180}, archivePrefix = {arXiv}
}""",
    "Thornton 1998": """@inproceedings{thornton1998separability,
  author = {Thornton, Chris},
  title = {Separability is a Learner's Best Friend},
  booktitle = {4th Neural Computation and Psychology Workshop}, pages = {40--46}, year = {1998},
  doi = {10.1007/978-1-4471-1546-5_4}
}""",
    "Wang & Isola 2020": """@inproceedings{wang2020understanding,
  author = {Wang, Tongzhou and Isola, Phillip},
  title = {Understanding Contrastive Representation Learning through Alignment and Uniformity on the Hypersphere},
  booktitle = {International Conference on Machine Learning}, year = {2020},
  eprint = {2005.10242}, archivePrefix = {arXiv}
}""",
    "Wang & Liu 2021": """@inproceedings{wang2021understanding,
  author = {Wang, Feng and Liu, Huaping},
  title = {Understanding the Behaviour of Contrastive Loss},
  booktitle = {IEEE/CVF Conference on Computer Vision and Pattern Recognition}, year = {2021},
  eprint = {2012.09740}, archivePrefix = {arXiv}
}""",
    "Cortes et al. 2012": """@article{cortes2012algorithms,
  author = {Cortes, Corinna and Mohri, Mehryar and Rostamizadeh, Afshin},
  title = {Algorithms for Learning Kernels Based on Centered Alignment},
  journal = {Journal of Machine Learning Research}, volume = {13}, pages = {795--828}, year = {2012}
}""",
    "Song et al. 2012": """@article{song2012feature,
  author = {Song, Le and Smola, Alex and Gretton, Arthur and Bedo, Justin and Borgwardt, Karsten},
  title = {Feature Selection via Dependence Maximization},
  journal = {Journal of Machine Learning Research}, volume = {13}, pages = {1393--1434}, year = {2012}
}""",
    "Ho & Basu 2002": """@article{ho2002complexity,
  author = {Ho, Tin Kam and Basu, Mitra},
  title = {Complexity Measures of Supervised Classification Problems},
  journal = {IEEE Transactions on Pattern Analysis and Machine Intelligence}, volume = {24}, number = {3},
  pages = {289--300}, year = {2002}, doi = {10.1109/34.990132}
}""",
    "Lorena et al. 2019": """@article{lorena2019how,
  author = {Lorena, Ana C. and Garcia, Lu{\\'i}s P. F. and Lehmann, Jens and Souto, Marcilio C. P. and Ho, Tin Kam},
  title = {How Complex Is Your Classification Problem? A Survey on Measuring Classification Complexity},
  journal = {ACM Computing Surveys}, volume = {52}, number = {5}, pages = {107:1--107:34}, year = {2019},
  doi = {10.1145/3347711}
}""",
    "Leyva et al. 2015": """@article{leyva2015set,
  author = {Leyva, Enrique and Gonz{\\'a}lez, Antonio and P{\\'e}rez, Ra{\\'u}l},
  title = {A Set of Complexity Measures Designed for Applying Meta-Learning to Instance Selection},
  journal = {IEEE Transactions on Knowledge and Data Engineering}, volume = {27}, number = {2}, pages = {354--367},
  year = {2015}, doi = {10.1109/TKDE.2014.2327034}
}""",
    "Mahalanobis 1936": """@article{mahalanobis1936generalised,
  author = {Mahalanobis, Prasanta Chandra},
  title = {On the Generalised Distance in Statistics},
  journal = {Proceedings of the National Institute of Sciences of India}, volume = {2}, number = {1},
  pages = {49--55}, year = {1936}
}""",
    "Bhattacharyya 1943": """@article{bhattacharyya1943measure,
  author = {Bhattacharyya, Anil Kumar},
  title = {On a Measure of Divergence between Two Statistical Populations Defined by Their Probability Distributions},
  journal = {Bulletin of the Calcutta Mathematical Society}, volume = {35}, pages = {99--109}, year = {1943}
}""",
    "Ghalyan et al. 2023": """@misc{ghalyan2023learning,
  author = {Ghalyan, Najah and Gourgoulias, Kostis and Satsangi, Yash and Labonne, Maxime and Moran, Sean and
            Sabelja, Joseph},
  title = {Estimating Class Separability of Datasets Using Persistent Homology with Application to {LLM} Fine-Tuning},
  year = {2023}, eprint = {2305.15016}, archivePrefix = {arXiv}, note = {Version 3}
}""",
    "Gourgoulias et al. 2024": """@article{gourgoulias2024estimating,
  author = {Gourgoulias, Kostis and Ghalyan, Najah and Labonne, Maxime and Satsangi, Yash and Moran, Sean and
            Sabelja, Joseph},
  title = {Estimating Class Separability of Text Embeddings with Persistent Homology},
  journal = {Transactions on Machine Learning Research}, year = {2024},
  eprint = {2305.15016}, archivePrefix = {arXiv}
}""",
    "Alain & Bengio 2017": """@misc{alain2017understanding,
  author = {Alain, Guillaume and Bengio, Yoshua},
  title = {Understanding Intermediate Layers Using Linear Classifier Probes},
  year = {2017}, eprint = {1610.01644}, archivePrefix = {arXiv}
}""",
    "Belinkov 2022": """@article{belinkov2022probing,
  author = {Belinkov, Yonatan},
  title = {Probing Classifiers: Promises, Shortcomings, and Advances},
  journal = {Computational Linguistics}, volume = {48}, number = {1}, pages = {207--219}, year = {2022},
  doi = {10.1162/coli_a_00422}
}""",
    "Hoerl & Kennard 1970": """@article{hoerl1970ridge,
  author = {Hoerl, Arthur E. and Kennard, Robert W.},
  title = {Ridge Regression: Biased Estimation for Nonorthogonal Problems},
  journal = {Technometrics}, volume = {12}, number = {1}, pages = {55--67}, year = {1970},
  doi = {10.1080/00401706.1970.10488634}
}""",
    "Ledoit & Wolf 2004": """@article{ledoit2004well,
  author = {Ledoit, Olivier and Wolf, Michael},
  title = {A Well-Conditioned Estimator for Large-Dimensional Covariance Matrices},
  journal = {Journal of Multivariate Analysis}, volume = {88}, number = {2}, pages = {365--411}, year = {2004},
  doi = {10.1016/S0047-259X(03)00096-4}
}""",
    "Mensink et al. 2013": """@article{mensink2013distance,
  author = {Mensink, Thomas and Verbeek, Jakob and Perronnin, Florent and Csurka, Gabriela},
  title = {Distance-Based Image Classification: Generalizing to New Classes at Near-Zero Cost},
  journal = {IEEE Transactions on Pattern Analysis and Machine Intelligence},
  volume = {35}, number = {11}, pages = {2624--2637}, year = {2013}, doi = {10.1109/TPAMI.2013.83}
}""",
    "Ng & Jordan 2001": """@inproceedings{ng2001discriminative,
  author = {Ng, Andrew Y. and Jordan, Michael I.},
  title = {On Discriminative vs. Generative Classifiers: A Comparison of Logistic Regression and Naive {Bayes}},
  booktitle = {Advances in Neural Information Processing Systems}, year = {2001}
}""",
    "Caron et al. 2021": """@inproceedings{caron2021emerging,
  author = {Caron, Mathilde and Touvron, Hugo and Misra, Ishan and J{\\'e}gou, Herv{\\'e} and Mairal, Julien and
            Bojanowski, Piotr and Joulin, Armand},
  title = {Emerging Properties in Self-Supervised Vision Transformers},
  booktitle = {International Conference on Computer Vision}, year = {2021},
  eprint = {2104.14294}, archivePrefix = {arXiv}
}""",
    "Xu et al. 2020": """@inproceedings{xu2020theory,
  author = {Xu, Yilun and Zhao, Shengjia and Song, Jiaming and Stewart, Russell and Ermon, Stefano},
  title = {A Theory of Usable Information under Computational Constraints},
  booktitle = {International Conference on Learning Representations}, year = {2020},
  eprint = {2002.10689}, archivePrefix = {arXiv}
}""",
    "Voita & Titov 2020": """@inproceedings{voita2020information,
  author = {Voita, Elena and Titov, Ivan},
  title = {Information-Theoretic Probing with Minimum Description Length},
  booktitle = {Empirical Methods in Natural Language Processing}, year = {2020},
  eprint = {2003.12298}, archivePrefix = {arXiv}
}""",
    "Hewitt & Liang 2019": """@inproceedings{hewitt2019designing,
  author = {Hewitt, John and Liang, Percy},
  title = {Designing and Interpreting Probes with Control Tasks},
  booktitle = {Empirical Methods in Natural Language Processing}, year = {2019},
  eprint = {1909.03368}, archivePrefix = {arXiv}
}""",
    "Tsamardinos et al. 2018": """@article{tsamardinos2018bootstrapping,
  author = {Tsamardinos, Ioannis and Greasidou, Elissavet and Borboudakis, Giorgos},
  title = {Bootstrapping the Out-of-Sample Predictions for Efficient and Accurate Cross-Validation},
  journal = {Machine Learning}, volume = {107}, pages = {1895--1922}, year = {2018},
  doi = {10.1007/s10994-018-5714-4}
}""",
    "McNemar 1947": """@article{mcnemar1947note,
  author = {McNemar, Quinn},
  title = {Note on the Sampling Error of the Difference between Correlated Proportions or Percentages},
  journal = {Psychometrika}, volume = {12}, number = {2}, pages = {153--157}, year = {1947},
  doi = {10.1007/BF02295996}
}""",
    "Holm 1979": """@article{holm1979simple,
  author = {Holm, Sture},
  title = {A Simple Sequentially Rejective Multiple Test Procedure},
  journal = {Scandinavian Journal of Statistics}, volume = {6}, number = {2}, pages = {65--70}, year = {1979}
}""",
    "Fel et al. 2024": """@inproceedings{fel2024understanding,
  author = {Fel, Thomas and B{\\'e}thune, Louis and Lampinen, Andrew Kyle and Serre, Thomas and Hermann, Katherine},
  title = {Understanding Visual Feature Reliance through the Lens of Complexity},
  booktitle = {Advances in Neural Information Processing Systems}, year = {2024},
  eprint = {2407.06076}, archivePrefix = {arXiv}
}""",
    "Spearman 1904": """@article{spearman1904proof,
  author = {Spearman, Charles},
  title = {The Proof and Measurement of Association between Two Things},
  journal = {The American Journal of Psychology}, volume = {15}, number = {1}, pages = {72--101}, year = {1904},
  doi = {10.2307/1412159}
}""",
    "Saxe et al. 2011": """@inproceedings{saxe2011random,
  author = {Saxe, Andrew M. and Koh, Pang Wei and Chen, Zhenghao and Bhand, Maneesh and Suresh, Bipin and
            Ng, Andrew Y.},
  title = {On Random Weights and Unsupervised Feature Learning},
  booktitle = {International Conference on Machine Learning}, year = {2011}
}""",
}


def works(source: str) -> list[str]:
    """The works that a source names: "Lawley 1938; Hotelling 1951" are two, "by definition" none."""
    parts = [part.partition(" (")[0].strip() for part in source.split(";")]
    return [part for part in parts if part and part != "by definition"]


def bibtex(sources: Iterable[str]) -> str:
    """The entries of all works that the sources name, each once, in the order of their first mention."""
    named = dict.fromkeys(work for source in sources for work in works(source))
    return "\n\n".join(ENTRIES[work] for work in named)
