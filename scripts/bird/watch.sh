#!/bin/sh
# Withdraws the VIP when the balancer on this host does not answer any more, and announces it when it is ready again. The
# balancer does so by itself (`announce_command`) as long as it lives; this is for when it does not. Run it as a service:
#
#   watch.sh [http://127.0.0.1:12025]           the balancer's `system_api`
set -eu

here=$(dirname "$0")
api=${1:-http://127.0.0.1:12025}
ready=${READY:-$here/ready.sh}
announce=${ANNOUNCE:-$here/announce.sh}
# A process that is started again at once is not worth a withdrawal.
fall=${FALL:-3}
interval_s=${INTERVAL_S:-1}

# `fault` is not said before the balancer was ready once: it may be about to start, and bird begins without the VIP.
said=
failed=0
while :; do
    if why=$("$ready" "$api"); then
        failed=0
        want=up
    else
        failed=$((failed + 1))
        want=$said
        [ "$failed" -lt "$fall" ] || [ -z "$said" ] || want=fault
    fi
    if [ "$want" != "$said" ]; then
        echo "balancer: $want${why:+ ($why)}"
        # What has failed is tried again.
        if "$announce" "$want"; then said=$want; fi
    fi
    sleep "$interval_s"
done
