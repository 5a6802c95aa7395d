"""Make the lexicon that ships with Curator: python jobs/make_lexicon.py /usr/share/wordnet curator/wordnet"""

from __future__ import annotations

import sys
from pathlib import Path

from curator.wordnet.making import make_lexicon

if __name__ == "__main__":
    sys.stdout.write(f"{make_lexicon(Path(sys.argv[1]), Path(sys.argv[2]))}\n")
