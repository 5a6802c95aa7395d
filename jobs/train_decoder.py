"""Train a NOVIC object decoder: `python jobs/train_decoder.py --encoder NAME --nouns FILE --work DIR --output FILE`."""

from curator.training.decoder_command import main

if __name__ == "__main__":
    main()
