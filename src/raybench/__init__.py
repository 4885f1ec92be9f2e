"""How to deploy a LoRA fine-tune, answered with evidence."""

__version__ = "0.1.0"
