"""How often each finding was wrong where there is nothing to find, and spoke where it has to: data, measured by
`python tests/situations.py`.
"""

# What the situations are, for the documentation.
SITUATIONS = {
    "noise": "Gaussian noise with random labels in a network with random weights",
    "untrained": "Gaussian classes in a network with random weights",
    "two classes": "noise with two random classes",
    "collapsed": "a network trained to collapse",
    "simplex": "class means on an exact simplex",
    "corners": "a network trained on the sign of a product",
    "deeper": "classes further apart at every layer",
    "lost": "a layer of noise behind one of classes",
    "learnt by heart": "a network trained on random labels",
    "sheet": "a plane with noise",
    "wide": "more features than rows",
    "clusters": "classes of two clusters, crosswise",
    "few rows": "a signal in more features than rows tell",
    "folded": "a decision by folded units beside linear ones",
}
# By code: the situation, how often the finding was wrong or spoke, and of how many data sets.
WRONG: dict[str, tuple[tuple[str, int, int], ...]] = {
    "RF102": (
        ("noise", 0, 40),
        ("two classes", 0, 40),
    ),
    "RF201": (
        ("noise", 0, 40),
        ("untrained", 0, 40),
    ),
    "RF202": (("noise", 0, 40),),
    "RF203": (
        ("noise", 0, 40),
        ("untrained", 0, 40),
    ),
    "RF204": (("noise", 0, 40),),
    "RF206": (("noise", 0, 40),),
    "RF301": (("noise", 1, 40),),
    "RF302": (("noise", 0, 40),),
    "RF303": (
        ("noise", 0, 40),
        ("untrained", 0, 40),
    ),
    "RF304": (("noise", 0, 40),),
    "RF305": (
        ("noise", 0, 40),
        ("two classes", 0, 40),
    ),
    "RF306": (("noise", 1, 40),),
    "RF402": (
        ("noise", 0, 40),
        ("two classes", 0, 40),
    ),
    "RF501": (("noise", 0, 40),),
    "RF502": (("two classes", 0, 40),),
    "RF503": (
        ("noise", 0, 40),
        ("untrained", 0, 40),
    ),
    "RF504": (
        ("noise", 0, 40),
        ("untrained", 0, 40),
    ),
    "RF505": (("noise", 0, 40),),
    "RF506": (("noise", 0, 40),),
    "RF602": (
        ("noise", 0, 40),
        ("untrained", 0, 40),
    ),
}
FOUND: dict[str, tuple[tuple[str, int, int], ...]] = {
    "RF102": (("collapsed", 38, 40),),
    "RF201": (("collapsed", 40, 40),),
    "RF202": (("simplex", 39, 40),),
    "RF203": (("collapsed", 40, 40),),
    "RF204": (("collapsed", 40, 40),),
    "RF206": (("collapsed", 40, 40),),
    "RF301": (("collapsed", 40, 40),),
    "RF302": (("deeper", 40, 40),),
    "RF303": (("learnt by heart", 40, 40),),
    "RF304": (("lost", 40, 40),),
    "RF305": (("collapsed", 40, 40),),
    "RF306": (("deeper", 40, 40),),
    "RF402": (("sheet", 40, 40),),
    "RF501": (("collapsed", 40, 40),),
    "RF502": (("wide", 40, 40),),
    "RF503": (("corners", 40, 40),),
    "RF504": (("corners", 40, 40),),
    "RF505": (("clusters", 40, 40),),
    "RF506": (("few rows", 40, 40),),
    "RF602": (("folded", 40, 40),),
}


def rates_of(code: str) -> str:
    """The rates of a finding in a sentence; nothing for findings that only repeat what a report holds."""
    parts = []
    for counts, words in ((WRONG, "Wrong in"), (FOUND, "Speaks in")):
        told = [f"{hits} of {sets} data sets ({SITUATIONS[name]})" for name, hits, sets in counts.get(code, ())]
        parts += [f"{words} {' and '.join(told)}."] if told else []
    return " ".join(parts)
