"""Entry point of a bank's build on a cluster: `ray job submit -- python jobs/bank.py --captions … --output …`."""

import sys

from curator.cli import main

if __name__ == "__main__":
    sys.argv[1:1] = ["--verbose", "bank", "build", "--backend", "ray"]
    main()
