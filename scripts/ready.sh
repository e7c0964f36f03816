#!/bin/sh
# Whether the balancer on this host wants clients: exit status 0 if it does. What it says instead goes to standard output.
# Asked by keepalived (scripts/keepalived) and by the watcher beside bird (scripts/bird/watch.sh).
#
#   ready.sh [http://127.0.0.1:12025]           the balancer's `system_api`
set -eu

api=${1:-http://127.0.0.1:12025}

# A balancer that takes longer than this to say so is not ready.
answer=$(curl --silent --show-error --fail-with-body --noproxy '*' --max-time "${READY_WITHIN_S:-1}" "$api/readyz" 2>&1) || {
    echo "$answer"
    exit 1
}
