#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Shows a pod, from its start to its end: `make demo`, or bundles/demo.sh once `make` has run. Needs root.
#
# Every line below a "$ pyoci ..." is what that command printed. What the titles say is checked, against the kernel and
# not only against what pyoci tells; the exit status is 0 only if all of it is true. Nothing is left behind.
set -eu

here=$(cd "$(dirname "$0")/.." && pwd)
pod=web
tmp=
step=0

fail() {
    echo "demo: $1" >&2
    exit 1
}

run() {
    "$here/build/pyoci" --root "$tmp/state" "$@"
}

clean_up() {
    status=$?
    trap - EXIT
    if [ -n "$tmp" ]; then
        [ ! -d "$tmp/state-pods/$pod" ] || run pod rm --force "$pod" || status=1
        rm -rf "$tmp"
    fi
    exit $status
}

title() {
    step=$((step + 1))
    printf '\n%s. %s\n\n' "$step" "$1"
}

# show COMMAND...: the command as it would be typed, then what it prints, indented.
show() {
    echo "   \$ pyoci $*"
    run "$@" >"$tmp/out"
    sed 's/^/   /' "$tmp/out"
}

# part NAME: the paragraph of `pod inspect` that begins with NAME.
part() {
    echo "   \$ pyoci pod inspect $pod      # its part $1"
    run pod inspect "$pod" | awk -v RS= -v name="$1" 'index($0, name) == 1' | sed 's/^/   /'
}

checked() {
    printf '\n   checked: %s\n' "$1"
}

pid_of() {
    run state "$pod.$1" | sed -n 's/^ *"pid": *\([0-9]*\),*$/\1/p'
}

# One PID a container, in the variables pid_pause, pid_server, pid_client.
find_pids() {
    for name in pause server client; do
        pid=$(pid_of "$name")
        [ -n "$pid" ] || fail "$name has no process"
        eval "pid_$name=$pid"
    done
}

namespace() {
    readlink "/proc/$1/ns/$2"
}

check_namespaces() {
    for peer in "$pid_server" "$pid_client"; do
        for kind in net ipc uts; do
            [ "$(namespace "$peer" $kind)" = "$(namespace "$pid_pause" $kind)" ] || fail "$kind of $peer is not the sandbox's"
        done
        for kind in pid mnt; do
            [ "$(namespace "$peer" $kind)" != "$(namespace "$pid_pause" $kind)" ] || fail "$kind of $peer is the sandbox's"
        done
    done
}

# The client has asked for the page and for its own file; it gives up by itself after some seconds.
wait_for_client() {
    tries=0
    until run pod logs "$pod" client | grep -q 'the server sees client.txt'; do
        tries=$((tries + 1))
        [ $tries -lt 100 ] || fail "the client got no page: $(run pod logs "$pod" client)"
        sleep 0.1
    done
}

check_order() {
    run pod inspect "$pod" | awk '$4 == "started:" { print $3 }' | tr '\n' ' ' >"$tmp/order"
    [ "$(cat "$tmp/order")" = "pause fill server client " ] || fail "the order was $(cat "$tmp/order")"
}

check_end() {
    [ "$(run pod ps | awk -v pod=$pod '$1 == pod { print $2 }')" = Succeeded ] || fail "the pod has not succeeded"
    for pid in "$pid_pause" "$pid_server" "$pid_client"; do
        [ ! -e "/proc/$pid" ] || fail "process $pid is still there"
    done
}

check_nothing_left() {
    ! grep -q "$tmp" /proc/self/mountinfo || fail "a mount is left"
    [ -z "$(ls -A "$tmp/state-pods")" ] || fail "a pod is left"
    [ -z "$(find /sys/fs/cgroup -maxdepth 3 -name "pyoci-pod-$pod" 2>/dev/null)" ] || fail "a control group is left"
}

[ "$(id -u)" = 0 ] || fail "a pod needs root: sudo make demo"
[ -x "$here/build/pyoci" ] || fail "build/pyoci is not there: run make"
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
tmp=$(mktemp -d)
cd "$here"

echo "A pod without an engine: a web server and its client, in the namespaces of pause."
echo "(pyoci is build/pyoci --root $tmp/state)"

title "One command starts the pod of a Kubernetes manifest."
show pod run -d bundles/web/pod.yaml
show pod ps

title "The order: the sandbox first, the init container to its end, then the containers."
part EVENTS
check_order
checked "pause, fill, server, client started in this order"

title "The namespaces: net, ipc and uts are the sandbox's, pid and mnt each container's own."
part NAMESPACES
find_pids
check_namespaces
checked "/proc/PID/ns/{net,ipc,uts} of server and client are those of pause; pid and mnt are not"

title "The page, fetched over localhost."
wait_for_client
part NETWORK
show exec "$pod.client" wget -q -O - http://127.0.0.1:8080/
grep -q '<h1>Hello from pod' "$tmp/out" || fail "that is not the page"
show pod logs "$pod"
checked "the client has the page that fill wrote and server serves"

title "The file seen by both: the client wrote it to /mnt, the server has the same volume at /www."
show exec "$pod.client" ls -i /mnt/client.txt
inode=$(awk '{ print $1 }' "$tmp/out")
show exec "$pod.server" ls -i /www/client.txt
[ "$(awk '{ print $1 }' "$tmp/out")" = "$inode" ] || fail "these are two files"
show exec "$pod.server" cat /www/client.txt
checked "both names have inode $inode"

title "The end: TERM in reverse order, the sandbox last."
show pod stop "$pod"
echo
part CONTAINERS
check_end
checked "every exit status is 0, and the processes are gone"

title "Nothing is left."
show pod rm "$pod"
show pod ps
check_nothing_left
checked "no mount, no control group, no state"
