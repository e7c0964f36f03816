#!/bin/sh
# keepalived calls this when an instance has changed its state: `notify.sh INSTANCE balancer MASTER|BACKUP|FAULT|STOP PRIORITY`.
#
# The balancer need not be told: it sees by itself that an address has come or gone. This is for people: the system's log,
# and a file that monitoring reads.
set -eu

name=${2:?usage: notify.sh INSTANCE NAME STATE [PRIORITY]}
state=${3:?usage: notify.sh INSTANCE NAME STATE [PRIORITY]}
file=${STATE_FILE:-/run/balancer-vrrp}

# Whoever reads it meanwhile sees the old state or the new one.
printf '%s %s\n' "$name" "$state" >"$file.new"
mv "$file.new" "$file"

# Where there is no log, the file has it.
logger --tag balancer-vrrp "$name is $state" 2>/dev/null || :
