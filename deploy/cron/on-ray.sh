#!/bin/sh
# The night's run on the standing Ray that RAY_API_SERVER_ADDRESS names: submits it once, by the day's name, and follows
# it to its end; the status is that of the job. A second pod of the night follows the first one's job. Where the head has
# lost the job it is submitted again, for what is left of the window, and resumes. Options are those of `curator label`.
set -u
night="nightly-${CURATOR_RUN_ID:=$(date -u +%F)}"
over_at=$(($(date +%s) + ${CURATOR_WINDOW_S:=18000}))
pause="${CURATOR_PAUSE_S:=15}"
submitted=

while :; do
    case "$(ray job status "$night" 2>&1)" in
        *"Job '$night' succeeded"*) exit 0 ;;
        *"Job '$night' failed"* | *"Job '$night' was stopped"*) exit 1 ;;
        *"Status for job '$night'"*) ray job logs --follow "$night" || true ;;
        *) # the head does not know it, or is not there
            left=$((over_at - $(date +%s)))
            if [ "$left" -le 0 ]; then
                echo "curator: the window is over and no job has ended" >&2
                exit 1
            fi
            # The lock of a driver that went with its head is stale a minute after.
            if [ -n "$submitted" ]; then sleep "$((5 * pause))"; fi
            if ray job submit --no-wait --submission-id "$night" -- \
                python "${CURATOR_JOBS:-/opt/curator/jobs}/label.py" "$@" --run-id "$CURATOR_RUN_ID" --max-seconds "$left"; then
                submitted=yes
            fi
            ;;
    esac
    sleep "$pause"
done
