#!/usr/bin/env bash
# Each of three shops is drained, restarted and made ready under 200 visitors at a steady rate: no
# request fails, nobody moves more than once a restart, and the counts are what the visitors saw.
# REAL_ROLLING_JARS=200 and REAL_ROLLING_RATE=100 (requests a second) for another crowd.
source "$(dirname "$0")/lib.bash"
command -v python3 >/dev/null || skip "python3 is not installed"

jars=${REAL_ROLLING_JARS:-200} rate=${REAL_ROLLING_RATE:-100}
declare -A ports shops
backends=
for id in a b c; do
    ports[$id]=$(free_port)
    shop_backend "$id" "${ports[$id]}"
    shops[$id]=$started
    backends+="{ id = \"$id\", address = \"127.0.0.1:${ports[$id]}\" }, "
done
port=$(free_port) metrics=$(free_port)
# Each jar asks every two seconds; a session that is idle for eight is over.
cat >ostler.toml <<CONF
$(preamble "$metrics")
[log]
access = "off"
[listeners.http]
bind = ["127.0.0.1:$port"]
[[routes]]
pool = "shop"
[pools.shop]
backends = [$backends]
sticky = { by = "cookie", idle = "8s" }
health = { http = "/healthz", interval = "300ms", rise = 2, fall = 2 }
CONF
ostler_run ostler.toml

sample() { fetch "http://127.0.0.1:$metrics/metrics" | awk -v name="$1" '$1 == name { print $2 }'; }
complete() { [ "$(sample 'ostler_sessions_complete{pool="shop"}')" = 1 ]; }
within 30 "counts that are complete" complete

seen=$work/seen.json
visitors() {
    exec python3 "$root/tests/real/jars.py" "http://127.0.0.1:$port/cart" --jars "$jars" \
        --rate "$rate" --seconds 180 --ready "$work/visiting" --stop "$work/enough" >"$seen"
}
start visitors visitors
visitors=$started
within 30 "all visitors" test -e visiting

began=()
for id in a b c; do
    began+=("$(date +%s.%N)")
    timeout 60 "$OSTLER" drain "shop/$id" --deadline 3s --wait --reason "restart" \
        >"drain-$id.log" 2>&1 || fail "drain shop/$id ended with $?"
    grep -q "shop/$id is empty" "drain-$id.log" || fail "it did not say that $id is empty"
    end "${shops[$id]}"
    shop_backend "$id" "${ports[$id]}"
    shops[$id]=$started
    timeout 60 "$OSTLER" ready "shop/$id" --wait >"ready-$id.log" 2>&1 ||
        fail "ready shop/$id ended with $?"
done
kill -0 "$visitors" || fail "the visitors went before the end"
touch enough
wait "$visitors" || fail "the visitors ended with $?"
fetch "http://127.0.0.1:$metrics/metrics" >metrics.txt

requests=$(jq .requests "$seen") failed=$(jq .failed "$seen")
((failed == 0)) || fail "$failed of $requests requests failed: $(jq -c '.failures[:5]' "$seen")"
ok "three restarts under $jars visitors: 0 of $requests requests failed"

# Moves by jar and restart: a restart goes from its drain to the next one.
windows=$(printf '%s\n' "${began[@]}" | jq -s .)
most=$(jq --argjson began "$windows" '
    [.moves[] | .at as $at | [.jar, ([$began[] | select(. <= $at)] | length)]]
    | group_by(.) | map(length) | max // 0' "$seen")
((most <= 1)) || fail "a jar moved $most times in one restart"
moves=$(jq '.moves | length' "$seen")
((moves > 0)) || fail "nobody moved, though all were active"
strays=$(jq --argjson began "$windows" '[.moves[] | .at as $at |
    ([$began[] | select(. <= $at)] | length) as $restart |
    select($restart == 0 or .from != ["a", "b", "c"][$restart - 1])] | length' "$seen")
((strays == 0)) || fail "$strays moves were from a backend that was not drained"
ok "$moves moves, each from the backend that was drained, at most one a jar and restart"

counted=$(awk -F '[{} ]' '$1 == "ostler_sessions_moved_total" && /pool="shop"/ { n += $NF }
    END { print n + 0 }' metrics.txt)
causes=$(sed -n 's/^ostler_sessions_moved_total{.*cause="\([a-z]*\)".* \([1-9][0-9]*\)$/\2 \1/p' \
    metrics.txt | xargs)
((counted == moves)) || fail "counted are $counted ($causes), the visitors saw $moves"
told=$(sed -n 's/.*moved \([0-9,]*\) at the deadline.*/\1/p' drain-?.log | tr -d , |
    awk '{ n += $1 } END { print n + 0 }')
((told == moves)) || fail "drain told of $told moves, the visitors saw $moves"
ok "/metrics counts the same moves: $causes; and drain --wait told of them"

lost=$(jq .lost "$seen")
((lost == moves)) || fail "$lost carts were lost in $moves moves"
ok "the shops lost no cart but those of the $moves moves"
