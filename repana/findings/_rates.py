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
}
# By code: the situation, how often the finding was wrong or spoke, and of how many data sets.
WRONG: dict[str, tuple[tuple[str, int, int], ...]] = {}
FOUND: dict[str, tuple[tuple[str, int, int], ...]] = {}


def measured(code: str) -> str:
    """The rates of a finding in a sentence; nothing for findings that only repeat what a report holds."""
    parts = []
    for counts, words in ((WRONG, "Wrong in"), (FOUND, "Speaks in")):
        told = [f"{hits} of {sets} data sets ({SITUATIONS[name]})" for name, hits, sets in counts.get(code, ())]
        parts += [f"{words} {' and '.join(told)}."] if told else []
    return " ".join(parts)
