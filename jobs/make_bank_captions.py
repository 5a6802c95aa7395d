"""Write the captions of the embedded bank: `python jobs/make_bank_captions.py --work DIR --output captions.txt`."""

from curator.training.bank_captions import main

if __name__ == "__main__":
    main()
