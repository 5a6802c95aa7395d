#!/bin/sh
# One night: label what is new or changed until it is done or the window is over. The run is named by the day (UTC), so
# that starting it again resumes it, and does nothing where it was completed. The status is that of the run.
set -eu
: "${CURATOR_CONFIG:?the settings: a path or url}"
: "${CURATOR_OUTPUT:?the output: a directory or s3:// prefix}"

exec curator --verbose label --config "$CURATOR_CONFIG" --output "$CURATOR_OUTPUT" \
    --run-id "${CURATOR_RUN_ID:-$(date -u +%F)}" --max-seconds "${CURATOR_WINDOW_S:-18000}"
