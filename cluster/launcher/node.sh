#!/usr/bin/env bash
# One Ray node on a host that others may use too: its folder, token, log and processes are its own,
# and it ends only what it started. (`ray stop` would end every Ray on the host.)
#
#   node.sh start ray start --head --port=6380 ...   start it, in place of one started before
#   node.sh stop                                     end it
#
# Files lie in the folder of this script: token (made before, mode 0600), pid, log. What Ray writes
# lies in a folder that only this user can enter, under ${METATUNE_TMP:-/tmp}; `stop` removes it.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
token=$here/token pid_file=$here/pid log=$here/log folder_file=$here/folder
seconds_to_start=120 seconds_to_stop=20

fail() {
    echo "node.sh: $*" >&2
    exit 1
}

# The process of the node, if it runs: a number alone could be another's by now.
node_pid() {
    local pid command
    [[ -s $pid_file && -s $folder_file ]] || return 1
    pid=$(<"$pid_file")
    command=$({ tr '\0' ' ' <"/proc/$pid/cmdline"; } 2>/dev/null) || return 1
    [[ $command == *"--temp-dir=$(<"$folder_file")/"* ]] || return 1
    echo "$pid"
}

stop() {
    local pid
    if pid=$(node_pid); then
        kill -TERM "$pid"
        for ((i = 0; i < 5 * seconds_to_stop; i++)); do
            node_pid >/dev/null || break
            sleep 0.2
        done
        kill -KILL -- "-$pid" 2>/dev/null || true # its process group, made by setsid
    fi
    if [[ -s $folder_file ]]; then rm -rf -- "$(<"$folder_file")"; fi
    rm -f "$pid_file" "$folder_file"
}

start() {
    [[ -s $token ]] || fail "$token: no token; make one with: (umask 077; openssl rand -hex 32 >$token)"
    [[ $(stat -c %a "$token") == [64]00 ]] || fail "$token: others can read it; chmod 600 it"
    stop
    local folder
    # Short, since sockets lie deep inside. Ray opens the folder it is given to everybody, so it is
    # given one within.
    folder=$(mktemp -d "${METATUNE_TMP:-/tmp}/mt-XXXXXX")
    echo "$folder" >"$folder_file"
    unset RAY_AUTH_TOKEN # would be preferred to the file
    export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=$token RAY_TMPDIR=$folder
    export RAY_USAGE_STATS_ENABLED=0 RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S=0
    setsid "$@" --block --temp-dir="$folder/ray" </dev/null >"$log" 2>&1 &
    echo $! >"$pid_file"
    for ((i = 0; i < 5 * seconds_to_start; i++)); do
        grep -qsF "Ray runtime started" "$log" && return
        kill -0 $! 2>/dev/null || break
        sleep 0.2
    done
    tail -n 20 "$log" >&2
    stop
    fail "Ray did not start; all it said is in $log"
}

case ${1:-} in
start)
    shift
    (($# > 0)) || fail "start what? node.sh start ray start --head ..."
    umask 077
    start "$@"
    ;;
stop) stop ;;
*) fail "'${1:-}' is neither start nor stop" ;;
esac
