"""Networks of diffusers, segmentation_models_pytorch, open_clip, peft and torch_geometric, tiny."""

import warnings
from functools import partial
from typing import Any

import torch
from torch import nn
from zoo._entry import SAMPLES, Entry
from zoo._language import ENCODER, MASKED, TOKENS, classified

MAP = {"*": "b c h w"}
Built = tuple[nn.Module, Any]


def unet_2d() -> Built:
    from diffusers import UNet2DModel

    model = UNet2DModel(
        sample_size=16,
        in_channels=3,
        out_channels=3,
        layers_per_block=1,
        block_out_channels=(8, 16),
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        norm_num_groups=4,
        attention_head_dim=8,
    )
    return model.eval(), {"sample": torch.randn(SAMPLES, 3, 16, 16), "timestep": torch.arange(SAMPLES) * 10}


def unet_condition() -> Built:
    """Text of seven tokens beside maps of 16 x 16."""
    from diffusers import UNet2DConditionModel

    model = UNet2DConditionModel(
        sample_size=16,
        in_channels=4,
        out_channels=4,
        layers_per_block=1,
        block_out_channels=(16, 16),
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        norm_num_groups=4,
        cross_attention_dim=12,
        attention_head_dim=2,
    )
    batch = {
        "sample": torch.randn(SAMPLES, 4, 16, 16),
        "timestep": torch.arange(SAMPLES) * 10,
        "encoder_hidden_states": torch.randn(SAMPLES, 7, 12),
    }
    return model.eval(), batch


def dit() -> Built:
    from diffusers import DiTTransformer2DModel

    model = DiTTransformer2DModel(
        num_attention_heads=2,
        attention_head_dim=6,
        in_channels=4,
        num_layers=2,
        sample_size=8,
        patch_size=2,
        num_embeds_ada_norm=10,
        norm_num_groups=2,
    )
    batch = {
        "hidden_states": torch.randn(SAMPLES, 4, 8, 8),
        "timestep": torch.arange(SAMPLES),
        "class_labels": torch.arange(SAMPLES) % 3,
    }
    return model.eval(), batch


def autoencoder() -> Built:
    from diffusers import AutoencoderKL

    model = AutoencoderKL(
        block_out_channels=(8, 16),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=4,
        norm_num_groups=4,
    )
    return model.eval(), {"sample": torch.randn(SAMPLES, 3, 16, 16)}


def segmentation(name: str) -> Built:
    import segmentation_models_pytorch as smp

    model = getattr(smp, name)("resnet18", encoder_weights=None, classes=1)
    return model.eval(), torch.randn(SAMPLES, 3, 64, 64)


def open_clip() -> Built:
    """Text of ten tokens, as many as patches and the class token."""
    import open_clip

    model = open_clip.CLIP(
        8,
        {"image_size": 24, "layers": 2, "width": 12, "patch_size": 8, "head_width": 6},
        {"context_length": 10, "vocab_size": 50, "width": 12, "heads": 2, "layers": 2},
    )
    tokens = torch.randint(1, 49, (SAMPLES, 10))
    tokens[:, -1] = 49
    return model.eval(), {"image": torch.randn(SAMPLES, 3, 24, 24), "text": tokens}


def lora() -> Built:
    from peft import LoraConfig, get_peft_model
    from transformers import BertConfig, BertForSequenceClassification

    model = BertForSequenceClassification(BertConfig(num_labels=3, **ENCODER))
    with warnings.catch_warnings():  # peft asks transformers for a name of before
        warnings.filterwarnings("ignore", ".*is_gradient_checkpointing.*", FutureWarning)
        model = get_peft_model(model, LoraConfig(r=2, target_modules=["query", "value"]))
    return model.eval(), classified()


class GraphNet(nn.Module):
    """Two convolutions, then one row a graph."""

    def __init__(self, kind: str):
        super().__init__()
        from torch_geometric import nn as gnn

        def layer(width: int) -> nn.Module:
            if kind == "gin":
                return gnn.GINConv(
                    nn.Sequential(nn.Linear(width, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Linear(12, 12))
                )
            return gnn.GATConv(width, 6, heads=2) if kind == "gat" else gnn.SAGEConv(width, 12)

        self.first, self.second = layer(7), layer(12)
        self.pool = gnn.global_mean_pool if kind == "gat" else gnn.global_add_pool
        self.head = nn.Linear(12, 3)

    def forward(self, data: Any) -> torch.Tensor:
        x = self.first(data.x, data.edge_index).relu()
        x = self.second(x, data.edge_index)
        return self.head(self.pool(x, data.batch))


class NodeNet(nn.Module):
    """Two convolutions and a class for each node."""

    def __init__(self):
        super().__init__()
        from torch_geometric import nn as gnn

        self.first, self.second, self.norm, self.head = (
            gnn.GCNConv(7, 12),
            gnn.GCNConv(12, 12),
            nn.LayerNorm(12),
            nn.Linear(12, 3),
        )

    def forward(self, data: Any) -> torch.Tensor:
        x = self.first(data.x, data.edge_index).relu()
        return self.head(self.norm(x + self.second(x, data.edge_index)))


def graph(nodes: int) -> Any:
    from torch_geometric.data import Data

    ring = torch.arange(nodes)
    edges = torch.stack([torch.cat([ring, (ring + 1) % nodes]), torch.cat([(ring + 1) % nodes, ring])])
    return Data(x=torch.randn(nodes, 7), edge_index=edges)


def graphs(kind: str) -> Built:
    from torch_geometric.data import Batch

    batch = Batch.from_data_list([graph(n) for n in (4, 7, 5, 3, 6)])
    return GraphNet(kind).eval(), (batch, torch.arange(SAMPLES) % 3)


def nodes() -> Built:
    """Twelve nodes and twelve units."""
    return NodeNet().eval(), (graph(12), torch.arange(12) % 3)


MAPS = {"*.group_norm": "b c t", "*": "b t c|b c h w"}
NO_MASK = {"mask": False}
ROWS = {"head": "b c", "*": "n c|n c c"}

ENTRIES = [
    Entry("diffusers_unet_2d", unet_2d, MAPS, options=NO_MASK),
    Entry("diffusers_unet_condition", unet_condition, MAPS, options=NO_MASK),
    Entry("diffusers_dit", dit, MAPS, options=NO_MASK),
    Entry("diffusers_autoencoder", autoencoder, MAPS, options=NO_MASK),
    Entry(
        "smp_unet_resnet18",
        partial(segmentation, "Unet"),
        MAP,
        refused=("encoder[0]",),
        auto="encoder.relu encoder.layer{1-4}.{0,1} decoder.blocks.{0-4} segmentation_head",
    ),
    Entry("smp_fpn_resnet18", partial(segmentation, "FPN"), MAP, refused=("encoder[0]",)),
    Entry("open_clip", open_clip, MAPS, options=NO_MASK),
    Entry("peft_lora_bert", lora, TOKENS, MASKED),
    *(Entry(f"pyg_{kind}", partial(graphs, kind), ROWS, rows="batch") for kind in ("gin", "gat", "sage")),
    Entry("pyg_gcn_nodes", nodes, {"*": "b c"}, samples=12),
]
