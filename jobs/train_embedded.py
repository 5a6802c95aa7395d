"""Train the embedded encoder, or judge it: `python jobs/train_embedded.py --work DIR --output DIR`."""

from curator.training.command import main

if __name__ == "__main__":
    main()
