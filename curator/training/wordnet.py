"""WordNet as the training knows it: the reader itself belongs to the labels. Owns nothing."""

from curator.labels.wordnet import Synset, WordNet

__all__ = ["Synset", "WordNet"]
