"""The pack's types and its reader under the name that they had in one module."""

from harness.pack.load import load_pack
from harness.pack.schema import OUT_OF_SCOPE, Case, DomainPack, DomainSettings, EdgeCase, Text, Turn

__all__ = ["OUT_OF_SCOPE", "Case", "DomainPack", "DomainSettings", "EdgeCase", "Text", "Turn", "load_pack"]
