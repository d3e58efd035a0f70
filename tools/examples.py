"""Make what `repana.example_report` and `repana.example_model` give: weights, a report, reports over training."""

import shutil
from dataclasses import replace

import torch
from safetensors.torch import save_file

import repana
from repana._demo import digits_cnn, steps, train
from repana._examples import FOLDER
from repana.extraction._samples import digits

EPOCHS, EVERY = 24, 3
LAYERS = ["conv1", "conv3", "classifier:in"]


def main() -> None:
    torch.set_num_threads(1)
    seen, unseen = digits()
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir()
    torch.manual_seed(0)
    model = digits_cnn()
    train(model, seen)
    save_file(
        {name: value.contiguous() for name, value in model.state_dict().items()}, FOLDER / "digits_cnn.safetensors"
    )
    report = repana.profile(model, seen, held_out=unseen, run="digits CNN", baselines=3)
    report.save(FOLDER / "digits")
    found = []
    for name, decay in (("weight decay", 5e-3), ("no decay", 0.0)):
        torch.manual_seed(0)
        model = digits_cnn()
        for epoch in steps(model, seen, EPOCHS, decay):
            if epoch % EVERY == 0:
                run = f"{name}/epoch{epoch:02d}"
                one = repana.profile(model, seen, LAYERS, "neural_collapse", run=run, step=epoch)
                found.append(replace(one, arrays={}))
    repana.concat(found).save(FOLDER / "training")


if __name__ == "__main__":
    main()
