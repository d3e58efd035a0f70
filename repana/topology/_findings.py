"""What density says: whether sparse samples join clusters that dense ones keep apart."""

import math

from repana._finding import ABSENT, ALPHA, PASSED, TIP, Finding, View


def bridged(view: View) -> Finding:
    """Whether outliers bridge clusters: a tip where the denser half of a layer's samples is more clustered than
    Gaussian clouds (p < 0.05), and all samples are not, or fall into fewer clusters. Counts are read only where the
    entropy is above its null: edges of a single cloud are all of like length, and many outlast half of the longest.
    """
    names = ("dense_entropy", "entropy", "dense_clusters", "clusters")
    rows = {name: {r.layer: r for r in view.rows(f"density_persistence.{name}")} for name in names}
    if not any(math.isfinite(r.value) for r in rows["dense_entropy"].values()):
        return Finding(ABSENT, "Clusters by density were not measured (`density_persistence`).")
    clustered = [layer for layer, r in rows["dense_entropy"].items() if r.p < ALPHA]
    if not clustered:
        return Finding(PASSED, "The denser half of no layer is more clustered than a Gaussian cloud.")
    together = {layer for layer in clustered if rows["entropy"][layer].p < ALPHA}
    fewer = {x for x in together if rows["dense_clusters"][x].value > rows["clusters"][x].value}
    apart = [layer for layer in clustered if layer not in together or layer in fewer]
    if not apart:
        return Finding(PASSED, f"Outliers bridge no clusters; {clustered[-1]} is clustered beyond a Gaussian cloud.")
    layer = apart[-1]
    text = f"{layer} has {int(rows['dense_clusters'][layer].value)} clusters at density quantile .5"
    if layer in together:
        text += f" and {int(rows['clusters'][layer].value)} with all samples: outliers bridge them."
    else:
        text += "; all samples are no more clustered than a Gaussian cloud: outliers bridge them."
    return Finding(TIP, text, tuple(apart), "Look at the sparse samples, or read clusters of the dense ones.")
