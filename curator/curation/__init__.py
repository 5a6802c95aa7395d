"""Jobs over the Parquet of finished runs: no image is read here. Knows no encoder but for the texts of new labels."""
