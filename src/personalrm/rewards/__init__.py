"""Trained reward models, one file a method; torch is imported inside, by the extra `train`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from personalrm.lazy_names import lazy_names

if TYPE_CHECKING:
    from personalrm.embedding.hugging_face import HuggingFaceEncoder
    from personalrm.embedding.server import ServerEncoder
    from personalrm.embedding.store import EmbeddingStore
    from personalrm.preferences.prepared_prompts import read_prepared
    from personalrm.rewards.encoder_spec import EncoderSpec
    from personalrm.rewards.heads.bases import LowRankOptions
    from personalrm.rewards.heads.gpo.model import GPO, GPOOptions
    from personalrm.rewards.heads.low_rank import LowRank
    from personalrm.rewards.heads.mrm import MRM, MRMOptions
    from personalrm.rewards.heads.pal import PAL, PALOptions
    from personalrm.rewards.heads.soups import Soup, SoupOptions
    from personalrm.rewards.heads.two_level import TwoLevel, TwoLevelOptions
    from personalrm.rewards.heads.vpl.model import VPL
    from personalrm.rewards.heads.vpl.network import VPLOptions
    from personalrm.rewards.language.bradley_terry.adapter_soups import Adapter, soup
    from personalrm.rewards.language.bradley_terry.cluster_soups import BradleyTerrySoup, BradleyTerrySoupOptions
    from personalrm.rewards.language.bradley_terry.model import BradleyTerry
    from personalrm.rewards.language.bradley_terry.network import BradleyTerryOptions
    from personalrm.rewards.language.bradley_terry.peft_export import export_peft
    from personalrm.rewards.language.forests.closing_states import PrefixCache
    from personalrm.rewards.language.lora import Lora
    from personalrm.rewards.language.served import ServedRewards
    from personalrm.rewards.language.trl_rewards import reward_function
    from personalrm.rewards.language.user_turns import Nothing, RawHistory, SavedPrompts
    from personalrm.rewards.language.vpl_lm.model import LanguageVPL
    from personalrm.rewards.language.vpl_lm.network import LanguageVPLOptions
    from personalrm.rewards.methods import REWARD_MODELS, reward_method
    from personalrm.rewards.reward_model import DevUser, RewardModel, ScoreItem, margins
    from personalrm.rewards.trained import open_store, open_trained
    from personalrm.stylometry.encoder import StylometricEncoder
else:
    __getattr__, __dir__ = lazy_names(__name__)

__all__ = [
    "Adapter",
    "BradleyTerry",
    "BradleyTerryOptions",
    "BradleyTerrySoup",
    "BradleyTerrySoupOptions",
    "DevUser",
    "EmbeddingStore",
    "EncoderSpec",
    "GPO",
    "GPOOptions",
    "HuggingFaceEncoder",
    "LanguageVPL",
    "LanguageVPLOptions",
    "Lora",
    "LowRank",
    "LowRankOptions",
    "MRM",
    "MRMOptions",
    "Nothing",
    "PAL",
    "PALOptions",
    "PrefixCache",
    "REWARD_MODELS",
    "RawHistory",
    "RewardModel",
    "SavedPrompts",
    "ScoreItem",
    "ServedRewards",
    "ServerEncoder",
    "Soup",
    "SoupOptions",
    "StylometricEncoder",
    "TwoLevel",
    "TwoLevelOptions",
    "VPL",
    "VPLOptions",
    "export_peft",
    "margins",
    "open_store",
    "open_trained",
    "read_prepared",
    "reward_function",
    "reward_method",
    "soup",
]
