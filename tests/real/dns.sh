#!/usr/bin/env bash
# dnsmasq tells the backends: it is asked for addresses and for SRV records, its answers change
# under visitors with jars, and it dies and comes back.
source "$(dirname "$0")/lib.bash"

port=$(free_port)
for last in 1 2 3; do
    start "shop-$last" python3 "$root/tests/real/shop.py" "$last" "$port" "127.0.0.$last"
    within 20 "shop $last" fetch "http://127.0.0.$last:$port/healthz"
done

dns=$(free_port)
# answers LINE…: dnsmasq with these records, in place of the one before.
dnsmasq=
answers() {
    [ -z "$dnsmasq" ] || end "$dnsmasq"
    printf '%s\n' port="$dns" listen-address=127.0.0.1 bind-interfaces no-resolv no-hosts \
        no-daemon pid-file= user="$(id -un)" local-ttl=1 local=/internal/ "$@" >dnsmasq.conf
    start dnsmasq dnsmasq --conf-file=dnsmasq.conf
    dnsmasq=$started
}
address() { echo "host-record=app.internal,127.0.0.$1"; }
answers "$(address 1)" "$(address 2)" "host-record=one.internal,127.0.0.3" \
    "srv-host=_http._tcp.app.internal,one.internal,$port,10,5"

front=$(free_port)
cat >ostler.toml <<CONF
$(preamble)
resolvers = ["127.0.0.1:$dns"]
[listeners.http]
bind = ["127.0.0.1:$front"]
[[routes]]
pool = "web"
[[routes]]
path_exact = "/healthz"
pool = "srv"
[pools.web]
policy = "round-robin"
backends = [{ address = "app.internal:$port", discover = "dns" }]
sticky = { by = "cookie", idle = "5s" }
health = { http = "/healthz", interval = "300ms", rise = 1, fall = 2 }
[pools.srv]
backends = [{ id = "x", address = "_http._tcp.app.internal", discover = "srv" }]
CONF
"$OSTLER" check -c ostler.toml --connect >checked.txt 2>&1 || fail "check: $(cat checked.txt)"
grep -q "web/127.0.0.2-$port .*connected" checked.txt || fail "check said $(cat checked.txt)"
ok "check --connect asks dnsmasq and dials what it tells"
ostler_run ostler.toml
url=http://127.0.0.1:$front

# ids [STAR]: the backends of the pool web; those that leave with a star.
ids() {
    "$OSTLER" status --json | jq -r '.pools[] | select(.name == "web") | .backends
        | map((.id | split("-")[0]) + (if .leaving then "*" else "" end)) | join(" ")'
}
are() { [ "$(ids)" = "$*" ]; }
who() { fetch "$url/stats" "$@" | sed -n 's/^server //p'; }
visit() { who --cookie "jar-$1" --cookie-jar "jar-$1"; }

within 10 "both addresses" are 127.0.0.1 127.0.0.2
for jar in $(seq 8); do visit "$jar" >/dev/null; visit "$jar" >"home-$jar"; done
[ "$(sort -u home-* | tr -d '\n')" = 12 ] || fail "8 jars live on $(sort -u home-* | tr '\n' ' ')"
ok "each address of the answer is a backend: 8 jars live on both"
fetch "$url/healthz" >/dev/null || fail "the pool by SRV does not serve"
"$OSTLER" status --json | jq -e --arg id "x-127.0.0.3-$port" \
    '.pools[] | select(.name == "srv") | .backends[] | select(.id == $id) | .weight == 5' \
    >/dev/null || fail "no backend by the SRV record"
ok "an SRV record is a backend with its host, port and weight"

stay() {
    local jar
    for jar in $(seq 8); do
        [ "$(visit "$jar")" = "$(cat "home-$jar")" ] || fail "$1: jar $jar has moved"
    done
}
answers "$(address 1)" "$(address 3)"
within 20 "another answer" are 127.0.0.1 127.0.0.3 '127.0.0.2*'
stay "one has left"
for _ in $(seq 12); do [ "$(who)" != 2 ] || fail "somebody new came to the one that left"; done
ok "who left the answer keeps its jars and gets nobody new"
within 30 "the one that left to have gone" are 127.0.0.1 127.0.0.3
ok "it goes when its visitors have"

end "$dnsmasq" KILL
dnsmasq=
problem() { "$OSTLER" status --json | jq -e '.discovered[] | select(.pool == "web") | .problem'; }
within 30 "word that DNS is gone" problem
are 127.0.0.1 127.0.0.3 || fail "the last answer was not kept: $(ids)"
for jar in $(seq 8); do rm -f "jar-$jar"; visit "$jar" >/dev/null; visit "$jar" >"home-$jar"; done
[ "$(sort -u home-* | tr -d '\n')" = 13 ] || fail "8 jars live on $(sort -u home-* | tr '\n' ' ')"
stay "dnsmasq is dead"
ok "dnsmasq is killed: the last answer is kept, and status says so"
