#!/usr/bin/env bash
# Three nginx from Debian's package serve real files behind Ostler; a jar sticks to one of them,
# moves once when it is killed, fails no GET, and the killed one comes back.
source "$(dirname "$0")/lib.bash"

declare -A ports nginx
backends=
for id in a b c; do
    ports[$id]=$(free_port)
    nginx_backend "$id" "${ports[$id]}"
    nginx[$id]=$started
    backends+="{ id = \"$id\", address = \"127.0.0.1:${ports[$id]}\" }, "
done
port=$(free_port)
cat >ostler.toml <<CONF
$(preamble)
[listeners.http]
bind = ["127.0.0.1:$port"]
[[routes]]
pool = "web"
[pools.web]
policy = "round-robin"
backends = [$backends]
sticky.by = "cookie"
health = { http = "/healthz", interval = "300ms", rise = 2, fall = 2 }
CONF
ostler_run ostler.toml
url=http://127.0.0.1:$port

fetch "$url/large.bin" >got.bin
cmp got.bin large.bin || fail "2 MiB arrived otherwise than they lie on the disk"
fetch "$url/large.bin" --range 1000000-1000999 >part.bin
cmp part.bin <(tail -c +1000001 large.bin | head -c 1000) || fail "a range arrived wrongly"
etag=$(fetch "$url/large.bin" --head | tr -d '\r' | sed -n 's/^[Ee][Tt]ag: //p')
[ -n "$etag" ] || fail "nginx's ETag did not arrive"
ok "real files, ranges and validators arrive as they are"

visit() { fetch "$url/name.txt" --cookie jar --cookie-jar jar; }
home=$(visit)
for _ in $(seq 20); do [ "$(visit)" = "$home" ] || fail "the jar left $home"; done
ok "20 requests with a jar land on $home"

seen=$(for _ in $(seq 20); do fetch "$url/name.txt"; done | sort -u | tr -d '\n')
[ "$seen" = abc ] || fail "20 requests without a jar reached only $seen"
ok "20 without spread over three"

end "${nginx[$home]}" KILL
moves=0
now=$home
for _ in $(seq 30); do
    next=$(visit) || fail "a GET failed after kill -9"
    [ "$next" = "$now" ] || moves=$((moves + 1))
    now=$next
done
((moves == 1)) || fail "it moved $moves times"
[ "$now" != "$home" ] || fail "it stayed with the dead"
ok "kill -9 of $home moved the jar once, to $now, and no GET failed"

state() { "$OSTLER" status --check --socket "$OSTLER_SOCKET"; }
down() { ! state; }
within 10 "word that $home is down" down
nginx_backend "$home" "${ports[$home]}"
within 10 "all well again" state
seen=$(for _ in $(seq 20); do fetch "$url/name.txt"; done | sort -u | tr -d '\n')
[ "$seen" = abc ] || fail "$home did not come back: $seen"
[ "$(visit)" = "$now" ] || fail "the jar moved a second time"
ok "$home comes back when its checks pass, and the jar stays where it is"
