"""The Bradley-Terry reward model (paper 5.1): a language model with LoRA and a linear head."""
