#!/bin/sh
# Registers a media server that cannot do it itself (nginx-rtmp, for one) with the balancer, and keeps renewing the lease
# until it is stopped. Run it beside the server, as a service of its own:
#
#   register-origin.sh http://BALANCER:12025 10.0.0.21 1935
#
# The balancer wants this host's address in `allow_register`, or its token in BALANCER_TOKEN.
set -eu

usage="usage: register-origin.sh http://BALANCER:PORT OWN_ADDRESS [RTMP_PORT]"
api=${1:?$usage}
ip=${2:?$usage}
port=${3:-1935}

# Three beats fit into the balancer's lease.
interval_s=${INTERVAL_S:-9}

# `server` names the machine and stays the same.
server=$(hostname)

authorization=
[ -z "${BALANCER_TOKEN:-}" ] || authorization="Authorization: Bearer $BALANCER_TOKEN"

beat() {
    # `service` names one run of the server: a new one replaces the old at once, and the old one's flows are ended, so
    # that publishers dial again. No server, no beat: the lease runs out.
    pid=$(pgrep -o -x "${SERVER_PROCESS:-nginx}") || return 0
    body=$(printf '{"device_id":"%s","ip":"%s","server":"%s","service":"%s","pid":"%s","rtmp":["%s"]}' \
        "$server" "$ip" "$server" "$server-$pid" "$pid" "$port")
    # The answer to a refused registration names the field.
    answer=$(curl --silent --show-error --fail-with-body --max-time 3 \
        --header 'Content-Type: application/json' ${authorization:+--header "$authorization"} \
        --data "$body" "$api/api/v1/srs/register") || echo "register-origin: $answer" >&2
}

while :; do
    # A balancer that is away is no reason to stop: the next beat reaches it again.
    beat
    sleep "$interval_s"
done
