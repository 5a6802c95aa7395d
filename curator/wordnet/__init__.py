"""Owns WordNet for every room: the lexicon that ships with Curator, and the reading of WordNet's own files."""
