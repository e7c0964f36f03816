#!/bin/sh
# Lets bird announce the VIP, or not: `announce.sh up|down|fault`. The balancer runs it as its `announce_command`, watch.sh when the balancer
# does not answer. To say what is said already does no harm.
#
# bird's socket belongs to the group `bird`: in balancer.service, `SupplementaryGroups=bird`.
set -eu

case "${1:-}" in
    up) verb=enable ;;
    down | fault) verb=disable ;;
    *)
        echo "usage: announce.sh up|down|fault" >&2
        exit 2
        ;;
esac

socket=${BIRD_SOCKET:-/run/bird/bird.ctl}

# birdc ends well whatever bird has answered.
for protocol in ${PROTOCOLS:-vip4 vip6}; do
    answer=$(birdc -s "$socket" "$verb" "$protocol")
    case "$answer" in
        *"$protocol: ${verb}d"* | *"$protocol: already ${verb}d"*) ;;
        *)
            echo "$answer" >&2
            exit 1
            ;;
    esac
done
