"""Vocabularies, prompt templates, text banks and heads. Knows encoders by protocol, and no image, shard or table."""
