#!/usr/bin/env bash
# The demo on Ray, S3 and PostgreSQL, all of them on this machine: what a team has on several, to look at and to try.
#
#     bash server/deploy/cluster_of_one.sh DIRECTORY [COMMAND ...]
#
# DIRECTORY must not exist; DIRECTORY/root has the same digests as `penult demo --root OTHER`. COMMAND is run in the
# demo's place, while all of it is up, such as `penult finetune ... --root DIRECTORY/root`.
# Needs `make install` (Ray, and moto in the place of S3) with its .venv/bin on the PATH, and PostgreSQL (Debian:
# apt-get install postgresql). Every process that it starts listens on this machine or asks for a token, and ends with
# it. Six GB of memory. CORES says how many the cluster has (by default all).
set -euo pipefail
place=$(realpath -m "${1:?give a directory that does not exist yet}")
shift
mkdir "$place"
short=$(mktemp -d /tmp/penult-XXXXXX) # sockets lie here: their paths must be short
started=()
leave() {
    trap - EXIT INT TERM
    for ((n = ${#started[@]} - 1; n >= 0; n--)); do # the server first, then what it uses
        kill -TERM "${started[n]}" 2>/dev/null || true
        wait "${started[n]}" 2>/dev/null || true
    done
    rm -rf "$short"
}
trap leave EXIT
trap 'exit 130' INT TERM
behind() { # behind LOG COMMAND...: run it beside this, its words in a log
    local log=$place/$1
    shift
    "$@" >"$log" 2>&1 &
    started+=($!)
}
through() { # through COMMAND...: run it to its end; a signal to this script ends it at once
    "$@" &
    started+=($!)
    wait $!
}
until_true() { # until_true SECONDS COMMAND...
    local left=$(($1 * 5))
    shift
    until "$@" >"$short/said" 2>&1; do
        if ((--left < 0)); then
            echo "no answer to: $*; look at the logs in $place" >&2
            cat "$short/said" >&2
            exit 1
        fi
        sleep 0.2
    done
}
free_port() { python -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

echo "PostgreSQL, on a socket alone, as a user without rights"
programs=$(dirname "$(ls -v /usr/lib/postgresql/*/bin/initdb 2>/dev/null | tail -n 1 || command -v initdb)")
as=()
if [[ $(id -u) == 0 ]]; then # PostgreSQL refuses root
    as=(setpriv --reuid postgres --regid postgres --clear-groups)
    mkdir "$short/postgres" && chown postgres "$short/postgres" && chmod 711 "$short"
else
    mkdir "$short/postgres"
fi
(cd "$short/postgres" && "${as[@]}" "$programs/initdb" -D data -U penult -A trust -E UTF8 --locale=C) >"$place/initdb.log"
behind postgres.log "${as[@]}" "$programs/postgres" -D "$short/postgres/data" -h '' -k "$short/postgres"
until_true 60 "$programs/createdb" -h "$short/postgres" -U penult registry

echo "S3: moto, whose buckets are its memory"
s3=http://127.0.0.1:$(free_port)
export AWS_ACCESS_KEY_ID=any AWS_SECRET_ACCESS_KEY=any AWS_REGION=us-east-1
behind s3.log moto_server -H 127.0.0.1 -p "${s3##*:}"
until_true 60 python -c "import urllib.request as u; u.urlopen(u.Request('$s3/penult', method='PUT'))"

echo "Ray, which asks for a token"
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=$place/ray_token RAY_USAGE_STATS_ENABLED=0
(umask 077; python -c 'import secrets; print(secrets.token_hex(32), end="")' >"$RAY_AUTH_TOKEN_PATH")
node() { # node LOG: start it; false where it has ended instead, for Ray gives a node 30 s to start, on a busy machine, too
    ray=$(free_port)
    behind "$1" ray start --head --port "$ray" --num-cpus "${CORES:-$(nproc)}" --object-store-memory 100000000 \
        --include-dashboard false --include-log-monitor false --temp-dir "$short/ray" --block
    until grep -q "Ray runtime started" "$place/$1"; do
        kill -0 "${started[-1]}" 2>/dev/null || return 1
        sleep 0.2
    done
}
node ray.log || node ray-2.log || node ray-3.log
export RAY_ADDRESS=127.0.0.1:$ray

echo "penult"
behind serve.log penult serve --root "$place/root" --port 0 --engine ray \
    --store s3://penult/store --store-endpoint "$s3" --registry "postgresql://penult@/registry?host=$short/postgres"
until_true 120 test -s "$place/root/server.json"
(($#)) || set -- penult demo --root "$place/root"
through "$@"
