"""The Bradley-Terry reward model (paper 5.1): a language model with LoRA and a linear head."""

from personalrm.rewards.language.bradley_terry.adapter_soups import Adapter, soup
from personalrm.rewards.language.bradley_terry.cluster_soups import BradleyTerrySoup, BradleyTerrySoupOptions
from personalrm.rewards.language.bradley_terry.model import BradleyTerry
from personalrm.rewards.language.bradley_terry.network import NetworkOptions
from personalrm.rewards.language.bradley_terry.training import BradleyTerryOptions
from personalrm.rewards.language.lora import Lora

__all__ = [
    "Adapter",
    "BradleyTerry",
    "BradleyTerryOptions",
    "BradleyTerrySoup",
    "BradleyTerrySoupOptions",
    "Lora",
    "NetworkOptions",
    "soup",
]
