#!/usr/bin/env bash
# What an operator of HAProxy can see while a server drains: the bound visitors stay, nobody new
# comes, and no gauge tells how many are still bound, so that nothing reaches zero when they go.
source "$(dirname "$0")/lib.bash"
command -v haproxy >/dev/null || skip "haproxy is not installed"

declare -A ports
servers=
for id in a b c; do
    ports[$id]=$(free_port)
    shop_backend "$id" "${ports[$id]}"
    servers+="    server $id 127.0.0.1:${ports[$id]} cookie $id"$'\n'
done
port=$(free_port)
# maxidle is HAProxy's own end of a session that nobody uses. pool-max-conn 0 keeps no spare
# connection to a server: it would be a gauge that is not 0, and has nothing to do with visitors.
cat >haproxy.cfg <<CONF
global
    stats socket $work/stats.sock mode 600 level admin
defaults
    mode http
    timeout connect 2s
    timeout client 60s
    timeout server 60s
frontend web
    bind 127.0.0.1:$port
    default_backend be
backend be
    balance roundrobin
    cookie SRV insert indirect nocache maxidle 16s
    option httpchk GET /healthz
    default-server check inter 300ms rise 1 fall 2 pool-max-conn 0
$servers
CONF
start haproxy haproxy -db -f haproxy.cfg
url=http://127.0.0.1:$port
within 20 "the shop through HAProxy" fetch "$url/healthz"
ask() { socat -t 5 - "UNIX-CONNECT:$work/stats.sock" <<<"$1"; }

# Each field of `show stat typed` says what it is; MG is a metric that is a gauge. need_conn_est is
# left out: a forecast of connections from the past, which is frozen when nobody asks.
gauges() {
    ask "show stat typed" | awk -F '[.:]' -v row="$1" '
        $1 == "S" && $5 == "svname" { named = ($NF == row) }
        $1 == "S" && named && $7 ~ /^MG/ && $5 != "need_conn_est" { print $5, $NF }'
}
all_zero() { gauges a | awk '$2 != 0 { bad = 1 } END { exit NR < 5 || bad }'; }
server_of() { sed -n 's/^server //p'; }
visit() { fetch "$url/cart" --cookie "jar$1" --cookie-jar "jar$1" | server_of; }

# 20 jars, each seen twice: a cookie that came back is a visitor and no bot.
declare -A home
for jar in $(seq 20); do
    home[$jar]=$(visit "$jar")
    [ "$(visit "$jar")" = "${home[$jar]}" ] || fail "jar $jar left ${home[$jar]}"
done
bound=()
for jar in $(seq 20); do [ "${home[$jar]}" != a ] || bound+=("$jar"); done
((${#bound[@]} >= 3)) || fail "only ${#bound[@]} of 20 jars are bound to a"
version=$(haproxy -v | sed -n 's/^HAProxy version \([^ ]*\).*/\1/p')
ok "HAProxy $version: 20 jars are bound, ${#bound[@]} of them to a"

ask "set server be/a state drain" >/dev/null
state() { ask "show servers state be" | awk -v id="$1" '$4 == id { print $7 }'; }
[ "$(state a)" = 8 ] || fail "a is not in state drain: $(ask "show servers state be")"
for jar in "${bound[@]}"; do
    [ "$(visit "$jar")" = a ] || fail "draining sent jar $jar away"
done
ok "a drains, and its ${#bound[@]} jars still land there"
for _ in $(seq 20); do
    [ "$(fetch "$url/cart" | server_of)" != a ] || fail "someone new came to a"
done
ok "none of 20 new visitors comes to a"

within 12 "gauges of 0 between requests" all_zero
gauges a >while_bound.txt
used_cur=$(ask "show servers conn be" | awk '
    $1 == "#" { for (i = 2; i <= NF; i++) if ($i == "used_cur") column = i - 1 }
    $1 == "be/a" { print $column }')
[ "$used_cur" = 0 ] || fail "show servers conn says used_cur $used_cur"
for jar in "${bound[@]}"; do
    # Without --cookie-jar: the look must not prolong what it looks at.
    [ "$(fetch "$url/cart" --cookie "jar$jar" | server_of)" = a ] || fail "jar $jar left before"
done
ok "${#bound[@]} are bound, yet these gauges of a are 0: $(cut -d' ' -f1 while_bound.txt | xargs)"
ok "show servers conn says used_cur 0 as well"

over() {
    local jar
    for jar in "${bound[@]}"; do
        [ "$(fetch "$url/cart" --cookie "jar$jar" | server_of)" != a ] || return 1
    done
}
within 40 "the end of the sessions of a" over
within 12 "gauges of 0 afterwards" all_zero
gauges a >when_empty.txt
differs=$(diff while_bound.txt when_empty.txt) || fail "a gauge tells them apart: $differs"
[ "$(state a)" = 8 ] || fail "the state of a changed by itself"
ok "nobody is bound to a any more, and nothing has changed: same gauges, same state, no word of it"
