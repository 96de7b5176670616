#!/usr/bin/env bash
# Two Ostlers with the same session keys. Visitors who ask them in turn stay where they are, also
# over a restart of one; a drain on one holds on both and waits for both; and with one out of reach
# the command fails and names it.
source "$(dirname "$0")/lib.bash"
command -v python3 >/dev/null || skip "python3 is not installed"

backends=
for id in a b c; do
    shop=$(free_port)
    shop_backend "$id" "$shop"
    backends+="{ id = \"$id\", address = \"127.0.0.1:$shop\" }, "
done
declare -A port metrics admin node url
for each in lb1 lb2; do
    port[$each]=$(free_port) metrics[$each]=$(free_port) admin[$each]=$(free_port)
    url[$each]=http://127.0.0.1:${port[$each]}
done
umask 077
"$OSTLER" keygen >session.key
head -c 24 /dev/urandom | base64 >peer.token

# file NAME PEER
file() {
    cat <<CONF
[admin]
socket = "$work/$1.sock"
bind = "127.0.0.1:${admin[$1]}"
tokens = [{ name = "peer", file = "peer.token", role = "operate" }]
peers = [{ name = "$2", url = "http://127.0.0.1:${admin[$2]}", token_file = "peer.token" }]
[metrics]
bind = "127.0.0.1:${metrics[$1]}"
[sessions]
keys = ["\${file:session.key}"]
[runtime]
state_dir = "$work/state-$1"
drain_timeout = "5s"
[log]
access = "off"
[listeners.http]
bind = ["127.0.0.1:${port[$1]}"]
[[routes]]
pool = "shop"
[pools.shop]
policy = "round-robin"
backends = [$backends]
sticky = { by = "cookie", idle = "6s" }
health = { http = "/healthz", interval = "300ms", rise = 1, fall = 2 }
CONF
}
file lb1 lb2 >lb1.toml
file lb2 lb1 >lb2.toml
mkdir state-lb1 state-lb2

# run NAME: that node, until it serves. on NAME COMMAND…: a command for that node.
run() {
    local -x OSTLER_SOCKET=$work/$1.sock
    start "$1" "$OSTLER" run -c "$1.toml"
    node[$1]=$started
    within 20 "a $1 that serves" listening "${node[$1]}"
}
on() { OSTLER_SOCKET=$work/$1.sock "$OSTLER" "${@:2}"; }
sample() {
    fetch "http://127.0.0.1:${metrics[$1]}/metrics" | awk -v name="$2" '$1 == name { print $2 }'
}
run lb1
run lb2

visitors() {
    exec python3 "$root/tests/real/jars.py" "${url[lb1]}/cart" "${url[lb2]}/cart" --jars 60 \
        --rate 60 --seconds 120 --ready "$work/visiting" --stop "$work/enough" >seen.json
}
start visitors visitors
visitors=$started
within 20 "all visitors" test -e visiting
on lb2 stop >stop.log 2>&1 || fail "stop ended with $?"
wait "${node[lb2]}" || fail "lb2 ended with $?"
refused() { ! fetch "${url[lb2]}/healthz" 2>/dev/null; }
refused || fail "lb2 serves after its end"
# glance NODE: five more visitors there; when they have been answered, the others have asked, too.
glance() {
    start "glance-$1" python3 "$root/tests/real/jars.py" "${url[$1]}/cart" --jars 5 --rate 10 \
        --seconds 30 --ready "$work/glance-$1" --stop "$work/glance-$1"
    within 20 "five more visitors on $1" test -e "glance-$1"
}
glance lb1
run lb2
glance lb2
kill -0 "$visitors" || fail "the visitors went before the end"
touch enough
wait "$visitors" || fail "the visitors ended with $?"
read -r requests failed elsewhere < <(jq -r '"\(.requests) \(.failed) \(.elsewhere)"' seen.json)
((failed == 0)) || fail "$failed of $requests requests failed: $(jq -c '.failures[:5]' seen.json)"
[ "$(jq '.moves | length' seen.json)" = 0 ] || fail "moved: $(jq -c '.moves[:5]' seen.json)"
[ "$(jq '.homes | length' seen.json)" = 3 ] || fail "homes: $(jq -c .homes seen.json)"
((elsewhere > 0)) || fail "nobody met lb2 while it was gone"
ok "60 jars on two nodes in turn, one restarted: none of them moved, 0 of $requests requests failed"

server_of() { sed -n 's/^server //p'; }
# visit NODE JAR
visit() { fetch "${url[$1]}/cart" --cookie "jar$2" --cookie-jar "jar$2" | server_of; }
# Three visitors of a who come by lb1, and two who come by lb2.
bind() {
    local jar number=0
    mine=()
    while ((${#mine[@]} < $2)); do
        jar=$1-$((number += 1))
        ((number < 60)) || fail "only ${#mine[@]} of $number jars of $1 are bound to a"
        visit "$1" "$jar" >home
        [ "$(visit "$1" "$jar")" = "$(cat home)" ] || fail "jar $jar left $(cat home)"
        [ "$(cat home)" != a ] || mine+=("$jar")
    done
}
bind lb1 3
by_lb1=("${mine[@]}")
bind lb2 2
by_lb2=("${mine[@]}")
# keep NODE JAR…: these stay active there until the file `quit-NODE` exists.
keep() {
    local jar server
    while [ ! -e "quit-$1" ]; do
        for jar in "${@:2}"; do
            server=$(visit "$1" "$jar") || exit 1
            [ "$server" = a ] || { echo "jar $jar is on $server"; exit 1; }
        done
        sleep 0.2
    done
}
start keep-lb1 keep lb1 "${by_lb1[@]}"
keep_lb1=$started
start keep-lb2 keep lb2 "${by_lb2[@]}"
keep_lb2=$started

# sessions NODE [OPTION…]: those of a, added up over the nodes that the answer is from.
sessions() {
    on "$1" sessions shop --json "${@:2}" |
        jq '[.. | objects | select(.id? == "a" and has("sessions")) | .sessions] | add'
}
count() { [ "$(sessions "$@")" = "$number" ]; }
complete() { [ "$(sample "$1" 'ostler_sessions_complete{pool="shop"}')" = 1 ]; }
for each in lb1 lb2; do within 20 "counts that are complete on $each" complete "$each"; done
number=5 within 20 "a count of 5 on both" count lb1
number=5 within 5 "the same from the other" count lb2
number=3 within 5 "a count of 3 on lb1" count lb1 --this-node
number=2 within 5 "a count of 2 on lb2" count lb2 --this-node
ok "ostler sessions adds both nodes up, 3 + 2, and --this-node does not"

on lb1 drain shop/a --deadline none --reason "rack 7" >drain.txt 2>&1 ||
    fail "drain ended with $?: $(cat drain.txt)"
grep -q lb2 drain.txt || fail "it does not say that lb2 drains, too: $(cat drain.txt)"
for each in lb1 lb2; do
    for _ in $(seq 20); do
        [ "$(fetch "${url[$each]}/cart" | server_of)" != a ] || fail "$each sent someone new to a"
    done
done
kill -0 "$keep_lb1" || fail "a visitor of lb1 left a: $(cat keep-lb1.log)"
kill -0 "$keep_lb2" || fail "a visitor of lb2 left a: $(cat keep-lb2.log)"
ok "a drain on lb1 holds on both: nobody new on either, and who is bound stays"

start wait env OSTLER_SOCKET="$work/lb1.sock" "$OSTLER" drain shop/a --deadline none --wait
waiting=$started
touch quit-lb1
wait "$keep_lb1" || fail "a visit by lb1 failed: $(cat keep-lb1.log)"
number=0 within 20 "a count of 0 on lb1" count lb1 --this-node
number=2 count lb1 || fail "both have $(sessions lb1) instead of 2"
kill -0 "$waiting" || fail "--wait ended while lb2 had visitors of a: $(cat wait.log)"
touch quit-lb2
wait "$keep_lb2" || fail "a visit by lb2 failed: $(cat keep-lb2.log)"
number=0 within 20 "a count of 0 on both" count lb1
code=0
wait "$waiting" || code=$?
((code == 0)) || fail "drain --wait ended with $code: $(cat wait.log)"
grep -q 'shop/a is empty' wait.log || fail "it did not say that a is empty: $(cat wait.log)"
ok "--wait goes on while lb2 alone has visitors, and ends when both have none"

end "${node[lb2]}"
code=0
on lb1 ready shop/a >ready.txt 2>&1 || code=$?
((code != 0)) || fail "ready succeeded without lb2"
grep -q lb2 ready.txt || fail "it does not name lb2: $(cat ready.txt)"
state() { on lb1 status --json | jq -r '.. | objects | select(.id? == "a") | .state'; }
[ "$(state)" = drain ] || fail "it changed lb1 all the same: $(state)"
ok "with lb2 stopped the command fails, names it and changes nothing: $(head -n 1 ready.txt)"
on lb1 sessions >sessions.txt 2>&1 && fail "sessions succeeded without lb2"
grep -q lb2 sessions.txt || fail "sessions does not name lb2: $(cat sessions.txt)"
on lb1 ready shop/a --this-node --wait >ready.txt 2>&1 || fail "--this-node: $(cat ready.txt)"
[ "$(state)" = up ] || fail "a is $(state) after ready"
ok "--this-node works all the same"
