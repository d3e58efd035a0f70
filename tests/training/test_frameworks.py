"""Monitors as callbacks of Lightning and of Hugging Face's Trainer, in real trainings."""

import math
import subprocess
import sys
import warnings

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from training.recipes import clusters, network

import repana
from repana.training import LightningMonitor, TrainerMonitor

X, Y = clusters(120, seed=1)
pytestmark = [
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.slow,
]


def lightning_module():
    import lightning as L

    class Module(L.LightningModule):
        def __init__(self):
            super().__init__()
            self.net = network()

        def forward(self, x):
            return self.net(x)

        def training_step(self, batch, _):
            return nn.functional.cross_entropy(self(batch[0]), batch[1])

        def validation_step(self, batch, _):
            self.log("loss", nn.functional.cross_entropy(self(batch[0]), batch[1]))

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), 0.05)

    return Module()


def fit(folder, callbacks, accumulate, steps=12, ckpt=None, module=None):
    import lightning as L

    torch.manual_seed(0)
    module = lightning_module() if module is None else module
    torch.manual_seed(1)
    loader = DataLoader(TensorDataset(*clusters()), batch_size=16, shuffle=True)
    trainer = L.Trainer(
        max_steps=steps, accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False,
        callbacks=callbacks, accumulate_grad_batches=accumulate, default_root_dir=folder, enable_checkpointing=False,
    )  # fmt: skip
    trainer.fit(module, loader, DataLoader(TensorDataset(X, Y), batch_size=40), ckpt_path=ckpt)
    return trainer, module


@pytest.mark.parametrize("accumulate", [1, 2])
def test_lightning(accumulate, tmp_path):
    """A record at each third update, once also where batches are accumulated; the weights as without a monitor."""
    seen = LightningMonitor((X, Y), store=tmp_path / "a", every=3, budget=None)
    trainer, watched = fit(tmp_path, [seen], accumulate)
    _, plain = fit(tmp_path, [], accumulate)
    assert all(torch.equal(a, b) for a, b in zip(watched.state_dict().values(), plain.state_dict().values()))
    assert trainer.global_step == 12
    assert repana.load_runs(tmp_path / "a").runs == ("step 0", "step 3", "step 6", "step 9", "step 12")
    rows = seen.monitor.report().select("training.loss", run="step 12")
    watched.eval()
    with torch.no_grad():
        want = nn.functional.cross_entropy(watched(X).double(), Y)
    assert rows[0].value == pytest.approx(float(want), rel=1e-5)


def test_lightning_goes_on_from_a_checkpoint(tmp_path):
    first = LightningMonitor((X, Y), store=tmp_path / "a", every=3, budget=None)
    trainer, module = fit(tmp_path, [first], 1, steps=7)
    trainer.save_checkpoint(tmp_path / "seven.ckpt")
    second = LightningMonitor((X, Y), store=tmp_path / "a", every=3, budget=None)
    fit(tmp_path, [second], 1, steps=12, module=module)  # a timeline of its own that starts at 0 again
    assert second.monitor.steps == [0, 3, 6, 9, 12]
    assert len(list((tmp_path / "a" / "abandoned").glob("*/step_*"))) == 4  # 3, 6, 7, and 0, which was of other weights
    third = LightningMonitor((X, Y), store=tmp_path / "a", every=3, budget=None)
    fit(tmp_path, [third], 1, steps=12, ckpt=tmp_path / "seven.ckpt")
    assert third.monitor.steps == [0, 3, 6, 7, 9, 12]


def test_lightning_stops(tmp_path):
    seen = LightningMonitor(
        (X, Y), store=tmp_path / "a", every=2, budget=None, mode="stop", stop_on=("training.loss", "", 2, 10.0)
    )
    trainer, _ = fit(tmp_path, [seen], 1, steps=40)
    assert trainer.global_step == 4
    assert math.isfinite(seen.monitor.choose()[1].value)


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = network()

    def forward(self, x, labels=None):
        z = self.net(x)
        return {"logits": z} if labels is None else {"loss": nn.functional.cross_entropy(z, labels), "logits": z}


class Rows(torch.utils.data.Dataset):
    def __init__(self, x, y):
        self.x, self.y = x, y

    def __len__(self):
        return len(self.x)

    def __getitem__(self, i):
        return {"x": self.x[i], "labels": self.y[i]}


def train_with_trainer(folder, callbacks, accumulate, steps=12, resume=None, save=0):
    from transformers import Trainer, TrainingArguments

    torch.manual_seed(0)
    model = Classifier()
    keep = {"save_strategy": "steps", "save_steps": save} if save else {"save_strategy": "no"}
    arguments = TrainingArguments(
        output_dir=str(folder), max_steps=steps, per_device_train_batch_size=16, gradient_accumulation_steps=accumulate,
        learning_rate=1e-2, use_cpu=True, report_to=[], disable_tqdm=True, seed=3, logging_steps=1000, **keep,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = Trainer(model, arguments, train_dataset=Rows(*clusters()), callbacks=callbacks)
        trainer.train(resume_from_checkpoint=resume)
    return trainer, model


@pytest.mark.parametrize("accumulate", [1, 2])
def test_trainer(accumulate, tmp_path):
    seen = TrainerMonitor(Rows(X, Y), store=tmp_path / "a", every=3, budget=None)
    trainer, watched = train_with_trainer(tmp_path / "t", [seen], accumulate)
    _, plain = train_with_trainer(tmp_path / "u", [], accumulate)
    assert all(torch.equal(a, b) for a, b in zip(watched.state_dict().values(), plain.state_dict().values()))
    assert trainer.state.global_step == 12
    assert seen.monitor.steps == [0, 3, 6, 9, 12]
    watched.eval()
    with torch.no_grad():
        want = nn.functional.cross_entropy(watched(X)["logits"].double(), Y)
    assert seen.monitor.report().select("training.loss", run="step 12")[0].value == pytest.approx(float(want), rel=1e-5)


def test_trainer_goes_on_from_a_checkpoint(tmp_path):
    first = TrainerMonitor(Rows(X, Y), store=tmp_path / "a", every=2, budget=None)
    train_with_trainer(tmp_path / "t", [first], 1, steps=12, save=5)
    second = TrainerMonitor(Rows(X, Y), store=tmp_path / "a", every=2, budget=None)
    train_with_trainer(tmp_path / "t", [second], 1, steps=12, resume=str(tmp_path / "t" / "checkpoint-5"))
    assert second.monitor.steps == [0, 2, 4, 5, 6, 8, 10, 12]
    assert len(list((tmp_path / "a" / "abandoned").glob("*/step_*"))) == 4


def test_trainer_stops(tmp_path):
    seen = TrainerMonitor(
        Rows(X, Y), store=tmp_path / "a", every=2, budget=None, mode="stop", stop_on=("training.loss", "", 2, 10.0)
    )
    trainer, _ = train_with_trainer(tmp_path / "t", [seen], 1, steps=40)
    assert trainer.state.global_step == 4


@pytest.mark.parametrize("package", ["lightning", "transformers"])
def test_a_framework_that_is_missing_is_named(package):
    module = {"lightning": "_lightning_monitor", "transformers": "_trainer_monitor"}[package]
    code = (
        "import sys\n"
        "for name in ('lightning', 'lightning.pytorch', 'pytorch_lightning', 'transformers'):\n"
        "    sys.modules[name] = None\n"
        f"import repana.training.{module}\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert f"RA289: {module_name(module)} needs {package}" in done.stderr


def module_name(module):
    return {"_lightning_monitor": "LightningMonitor", "_trainer_monitor": "TrainerMonitor"}[module]
