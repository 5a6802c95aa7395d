"""Entry point of the main job on a cluster: `ray job submit -- python jobs/label.py --config PATH_OR_URL --set …`."""

import sys

from curator.cli import main

if __name__ == "__main__":
    sys.argv[1:1] = ["--verbose", "label", "--backend", "ray"]
    main()
