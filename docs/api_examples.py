"""Examples of functions whose docstring has none: a few lines that run at every build, with what they give."""

SETUP = """
import torch
import repana
model, train, held_out = repana.example_model()
layers = repana.record(model, held_out)
report = repana.example_report()
"""

EXAMPLES = {
    "profile": 'repana.profile(model, held_out, ["conv3", "classifier:in"], "neural_collapse")',
    "probe_layers": (
        'found = repana.probe_layers(model, held_out, ["conv1", "classifier:in"], baselines=1)\n'
        'found.table("linear_probe")'
    ),
    "sweep": (
        "import tempfile\n"
        'task = {"model": "repana._demo:digits_cnn", "data": "digits", "metrics": ["nc1"], "permutations": 0}\n'
        "repana.sweep([task], tempfile.mkdtemp(), overview=False, progress=False)"
    ),
    "record": 'repana.record(model, held_out, ["input", "conv*"])',
    "plan": "repana.plan(model, held_out)",
    "compare": (
        'training = repana.example_report("training")\n'
        'repana.compare(training, "no decay/epoch24", "weight decay/epoch24", "nc1")'
    ),
    "load_runs": (
        "import tempfile\nfrom pathlib import Path\n\nfolder = Path(tempfile.mkdtemp())\n"
        'report.save(folder / "digits")\nrepana.load_runs([folder]).runs'
    ),
    "concat": 'repana.concat({"a": report, "b": report}).runs',
    "fold_moments": (
        "targets = torch.nn.functional.one_hot(held_out[1]).float()\n"
        'repana.fold_moments(model, held_out, targets, ["conv3"])'
    ),
    "objective_dimension": (
        "def make(seed):\n    torch.manual_seed(seed)\n    return torch.nn.Linear(64, 10)\n\n\n"
        "x, y = train[0].flatten(1), train[1]\n\n\n"
        "def fit(net):\n"
        "    optimizer = torch.optim.Adam([p for p in net.parameters() if p.requires_grad], lr=0.05)\n"
        "    for _ in range(60):\n        optimizer.zero_grad()\n"
        "        torch.nn.functional.cross_entropy(net(x), y).backward()\n        optimizer.step()\n\n\n"
        "def accuracy(net):\n    return float((net(x).argmax(1) == y).float().mean())\n\n\n"
        "repana.objective_dimension(make, fit, accuracy, precision=0.3).dimension"
    ),
    "ph_dimensions": 'repana.dimension.ph_dimensions(layers["conv3"], alphas=(0.5, 1.0))',
    "diagram_distance": (
        'a, b = (repana.persistence(layers[name], max_samples=200) for name in ("conv1", "classifier:in"))\n'
        "repana.topology.diagram_distance(a, b)"
    ),
    "concept_use": (
        "loop = torch.isin(layers.labels, torch.tensor([0, 6, 8, 9])).long()\n"
        'probe = repana.linear_probe(layers["classifier:in"], loop)\n'
        'repana.probes.concept_use(model, held_out[0], "classifier:in", probe, 1, target=8)'
    ),
    "conductance": 'repana.features.conductance(model, (held_out[0][:50], held_out[1][:50]), ["conv3"], start="conv2")',
    "importance": 'repana.importance(model, held_out, "classifier:in")',
    "feature_merging": "repana.features.feature_merging(model, held_out)",
    "read_features": 'repana.read_features(model, held_out, features="nmf", count=8)',
    "sensitivity": 'repana.features.sensitivity(model, held_out, "classifier:in")',
}
