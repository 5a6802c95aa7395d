#!/bin/sh
# What the image installs, into a virtual environment: install.sh cuda|cpu VENV. Runs at the repository's root.
# Exactly the files of the locks: their versions and, except for PyTorch's own CPU index, their hashes.
set -eu
python3 -m venv "$2"
"$2/bin/pip" install --no-deps -r "deploy/requirements-$1.lock"
"$2/bin/pip" install --no-deps --require-hashes -r deploy/requirements.lock
