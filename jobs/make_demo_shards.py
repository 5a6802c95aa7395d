"""Write the demo shards: `python jobs/make_demo_shards.py --work DIR --output DIR --vocabulary FILE`."""

from curator.training.demo import main

if __name__ == "__main__":
    main()
