#!/usr/bin/env bash
# A fixed rate of requests while the file is rewritten 20 times a second, three variants that hold
# and one that is broken: no error, no answer but 2xx, and what was written last is what serves.
# REAL_RELOAD_SECONDS=60 for a longer look than the default of 10; REAL_RELOAD_RATE is 300 a second.
source "$(dirname "$0")/lib.bash"
command -v oha >/dev/null || skip "oha is not installed (cargo install oha --locked)"

seconds=${REAL_RELOAD_SECONDS:-10} rate=${REAL_RELOAD_RATE:-300}
port=$(free_port) metrics=$(free_port) one=$(free_port) two=$(free_port)
nginx_backend a "$one"
nginx_backend b "$two"
a="{ id = \"a\", address = \"127.0.0.1:$one\" }" b="{ id = \"b\", address = \"127.0.0.1:$two\" }"

# variant NUMBER POLICY BACKENDS EXTRA
variant() {
    cat <<CONF
[admin]
socket = "$OSTLER_SOCKET"
[metrics]
bind = "127.0.0.1:$metrics"
[runtime]
state_dir = "$work/state"
watch = ["certificates", "file"]
[log]
access = "off"
[listeners.http]
bind = ["127.0.0.1:$port"]
[[routes]]
path_exact = "/variant"
respond = { status = 200, body = "$1" }
[[routes]]
pool = "web"
[pools.web]
policy = "$2"
backends = [$3]
sticky.by = "cookie"
health = { http = "/healthz", interval = "500ms" }
$4
CONF
}
variant 1 round-robin "$a, $b" "" >1.toml
variant 2 least-request "$b, $a" "connections = { idle = 16 }" >2.toml
variant 3 random "$a" "" >3.toml
variant 4 round-robin "$a, $b" "no_such_key = true" >4.toml
cp 1.toml ostler.toml
ostler_run ostler.toml
sample() { fetch "http://127.0.0.1:$metrics/metrics" | sed -n "s/^$1 //p"; }
first=$(sample ostler_config_generation)

rewrite() {
    local written=0 number
    while [ ! -e stop ]; do
        number=$((written % 4 + 1))
        cp "$number.toml" next.toml
        mv next.toml ostler.toml
        written=$((written + 1))
        echo "$written" >written
        sleep 0.05
    done
}
start rewrite rewrite
rewriter=$started
oha -z "${seconds}s" -q "$rate" -c 20 --latency-correction --no-tui --output-format json \
    "http://127.0.0.1:$port/name.txt" >oha.json 2>oha.log || fail "oha: $(cat oha.log)"
touch stop
wait "$rewriter" || true
written=$(cat written)

# What oha cut itself at its deadline is no error of ours.
errors=$(jq '[.errorDistribution // {} | to_entries[] |
    select(.key | test("deadline") | not) | .value] | add // 0' oha.json)
codes=$(jq -c '.statusCodeDistribution' oha.json)
bad=$(jq '[.statusCodeDistribution | to_entries[] | select(.key | startswith("2") | not) | .value]
    | add // 0' oha.json)
good=$(jq '[.statusCodeDistribution | to_entries[] | select(.key | startswith("2")) | .value]
    | add // 0' oha.json)
((errors == 0)) || fail "$errors errors: $(jq -c .errorDistribution oha.json)"
((bad == 0)) || fail "$bad answers were not 2xx: $codes"
((good > 0)) || fail "nothing was answered: $codes"
ok "$good requests in $seconds s, 0 errors, 0 non-2xx, over $written rewrites"

generations=$(($(sample ostler_config_generation) - first))
held=$((written - written / 4))
((generations > 0)) || fail "no rewrite was applied"
((generations <= held + 1)) || fail "$generations generations from $held files that held"
ok "$generations generations from $written writes: the broken ones are not counted"

for number in 2 4 3; do
    cp "$number.toml" next.toml
    mv next.toml ostler.toml
    sleep 0.02
done
serves() { [ "$(fetch "http://127.0.0.1:$port/variant")" = "$1" ]; }
within 10 "what was written last" serves 3
ok "what was written last is what serves"
cp 4.toml next.toml
mv next.toml ostler.toml
refused() { [ "$(sample ostler_config_last_reload_success)" = 0 ]; }
within 10 "word that the file is broken" refused
serves 3 || fail "a broken file changed what serves"
ok "a broken file at the end changes nothing, and is told"
