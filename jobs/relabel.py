"""Entry point of relabelling on a cluster: `ray job submit -- python jobs/relabel.py RUN --output … --config …`."""

import sys

from curator.cli import main

if __name__ == "__main__":
    sys.argv[1:1] = ["--verbose", "relabel", "--backend", "ray"]
    main()
