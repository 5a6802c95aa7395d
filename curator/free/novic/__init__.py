"""NOVIC: nouns spelled out from embeddings by a decoder that was trained on texts alone."""
