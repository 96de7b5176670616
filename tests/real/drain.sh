#!/usr/bin/env bash
# A drain to its end. Three nginx with a shop behind each: the bound visitors stay, nobody new
# comes, the count falls to 0 as they go idle, and --wait ends then. And with a deadline: those who
# are still there are moved once. (drain_haproxy.sh is the first half of this, with HAProxy.)
source "$(dirname "$0")/lib.bash"
command -v python3 >/dev/null || skip "python3 is not installed"

backends=
for id in a b c; do
    shop=$(free_port)
    shop_backend "$id" "$shop"
    nginx=$(free_port)
    nginx_backend "$id" "$nginx" "$shop"
    backends+="{ id = \"$id\", address = \"127.0.0.1:$nginx\" }, "
done
port=$(free_port) metrics=$(free_port)
cat >ostler.toml <<CONF
$(preamble "$metrics")
[log]
access = "off"
[listeners.http]
bind = ["127.0.0.1:$port"]
[[routes]]
pool = "shop"
[pools.shop]
policy = "round-robin"
backends = [$backends]
sticky = { by = "cookie", idle = "6s" }
health = { http = "/healthz", interval = "300ms", rise = 1, fall = 2 }
CONF
ostler_run ostler.toml
url=http://127.0.0.1:$port

server_of() { sed -n 's/^server //p'; }
visit() { fetch "$url/cart" --cookie "jar$1" --cookie-jar "jar$1" | server_of; }
sample() { fetch "http://127.0.0.1:$metrics/metrics" | awk -v name="$1" '$1 == name { print $2 }'; }
gauge() { sample "ostler_backend_sessions{pool=\"shop\",backend=\"$1\"}"; }
counts() { [ "$(gauge a)" = "$1" ]; }
moved() {
    local count
    count=$(sample 'ostler_sessions_moved_total{pool="shop",cause="deadline"}')
    echo "${count:-0}"
}
complete() { [ "$(sample 'ostler_sessions_complete{pool="shop"}')" = 1 ]; }
within 20 "counts that are complete" complete

# bind PREFIX NUMBER: so many jars, each seen twice; those that are bound to a go to `bound`.
bind() {
    local number jar
    bound=()
    for number in $(seq "$2"); do
        jar=$1$number
        fetch "$url/cart/add?item=$number" --cookie "jar$jar" --cookie-jar "jar$jar" |
            server_of >"home$jar"
        [ "$(visit "$jar")" = "$(cat "home$jar")" ] || fail "jar $jar left $(cat "home$jar")"
        [ "$(cat "home$jar")" != a ] || bound+=("$jar")
    done
    ((${#bound[@]} >= 3)) || fail "only ${#bound[@]} of $2 jars are bound to a"
}
# keep JAR…: these stay active until the file `quit` exists; where they landed goes to `landed`.
keep() {
    local jar server
    while [ ! -e quit ]; do
        for jar in "$@"; do
            server=$(visit "$jar") || exit 1
            echo "$jar $server" >>landed
        done
        sleep 0.2
    done
}

bind first 24
within 5 "a count of ${#bound[@]}" counts "${#bound[@]}"
for _ in $(seq 50); do fetch "$url/cart" --output /dev/null; done
counts "${#bound[@]}" || fail "visits without a cookie count: $(gauge a)"
ok "${#bound[@]} of 24 jars are bound to a and counted, and 50 visits without a cookie are not"

active=("${bound[@]:0:2}")
: >landed
start keep keep "${active[@]}"
keeper=$started
start drain "$OSTLER" drain shop/a --deadline 1m --wait --reason "new kernel"
drain=$started
draining() {
    "$OSTLER" status --json | jq -e '.. | objects | select(.id? == "a") | .state == "drain"'
}
within 10 "a drain" draining
for jar in "${bound[@]}"; do
    [ "$(visit "$jar")" = a ] || fail "draining sent jar $jar away"
done
for _ in $(seq 20); do
    [ "$(fetch "$url/cart" | server_of)" != a ] || fail "someone new came to a"
done
ok "a drains: its ${#bound[@]} jars still land there, and none of 20 new visitors does"

within 20 "a count of 2" counts 2
kill -0 "$drain" || fail "--wait ended while 2 visitors were still there"
"$OSTLER" sessions shop >sessions.txt || fail "ostler sessions: $?"
"$OSTLER" sessions shop --json >sessions.json
jq -e '[.. | objects | select(.id? == "a" and has("sessions"))] | .[0] |
    .sessions == 2 and .exact and (.empty | not) and .drain.then == "move" and .drain.moved == 0' \
    sessions.json >/dev/null || fail "ostler sessions --json: $(cat sessions.json)"
grep -Eq '(^|[[:space:]/])a[[:space:]].*drain.*[[:space:]]2([[:space:]]|$)' sessions.txt ||
    fail "ostler sessions: $(cat sessions.txt)"
ok "the others went idle: the count fell from ${#bound[@]} to the 2 that are active, and it waits"

touch quit
wait "$keeper" || fail "a visit failed"
! grep -v ' a$' landed || fail "an active jar left a before the deadline"
within 20 "a count of 0" counts 0
code=0
wait "$drain" || code=$?
((code == 0)) || fail "drain --wait ended with $code"
grep -q 'shop/a is empty' drain.log || fail "it did not say that a is empty"
! grep -q 'moved [1-9]' drain.log || fail "it says that someone was moved"
[ "$(moved)" = 0 ] || fail "$(moved) were moved"
ok "then they went, too: 0, exit code 0, nobody was moved: $(grep 'is empty' drain.log | tail -n 1)"

timeout 30 "$OSTLER" ready shop/a --wait >ready.log 2>&1 || fail "ready --wait ended with $?"
new_at_a() { [ "$(fetch "$url/cart" | server_of)" = a ]; }
within 10 "new visitors for a" new_at_a
ok "ready: a takes new visitors again"

# past_deadline NAME [OPTION…]: drains a under visitors that stay active.
past_deadline() {
    local jar code=0
    bind "$1" 15
    rm -f quit
    : >landed
    start keep keep "${bound[@]}"
    keeper=$started
    timeout 60 "$OSTLER" drain shop/a --deadline 2s --wait "${@:2}" >deadline.log 2>&1 || code=$?
    touch quit
    wait "$keeper" || fail "a visit failed"
    echo "$code" >code
    for jar in "${bound[@]}"; do
        # Each of them: a for a while, then one other backend and no third.
        [ "$(sed -n "s/^$jar //p" landed | uniq | wc -l)" -eq 2 ] ||
            fail "jar $jar went $(sed -n "s/^$jar //p" landed | uniq | xargs)"
        [ "$(sed -n "s/^$jar //p" landed | head -n 1)" = a ] || fail "jar $jar left before"
    done
}
past_deadline second
[ "$(cat code)" = 0 ] || fail "past the deadline it ended with $(cat code)"
grep -q "moved ${#bound[@]} at the deadline" deadline.log || fail "it says: $(cat deadline.log)"
[ "$(moved)" = "${#bound[@]}" ] || fail "$(moved) moves are counted instead of ${#bound[@]}"
ok "at the deadline the ${#bound[@]} that were still active moved, once each, and it says so"

timeout 30 "$OSTLER" ready shop/a --wait >ready.log 2>&1 || fail "ready --wait ended with $?"
past_deadline third --strict
[ "$(cat code)" = 4 ] || fail "--strict ended with $(cat code)"
ok "--strict: the same, and exit code 4"
