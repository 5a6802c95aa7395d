"""Caption banks: texts with their unit vectors, mapped and searched. Owns their format; embeds nothing itself."""

from __future__ import annotations

from curator.captions.bank import CaptionBank
from curator.captions.facts import BankFacts, read_facts

__all__ = ["BankFacts", "CaptionBank", "read_facts"]
