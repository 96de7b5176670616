#!/usr/bin/env bash
# Debian's htpasswd and argon2 make the hashes, curl sends the passwords, nginx is behind.
source "$(dirname "$0")/lib.bash"
for tool in htpasswd argon2 nginx curl; do
    command -v "$tool" >/dev/null || skip "no $tool here"
done

backend=$(free_port)
nginx_backend a "$backend"
front=$(free_port)

htpasswd -cbB users anna 'open sesame' 2>/dev/null
htpasswd -bB -C 10 users bert 'pass:with:colons' 2>/dev/null
printf 'carl:%s\n' "$(printf %s 'geheim' | argon2 sixteen-bytes-it -id -t 2 -m 12 -e)" >>users
chmod 640 users

cat >ostler.toml <<CONF
$(preamble)
[log]
to = "$work/access.json"
[listeners.http]
bind = ["127.0.0.1:$front"]
[[routes]]
path = "/"
pool = "web"
basic_auth = { users = "users", realm = "behind Ostler" }
[pools.web]
backends = [{ id = "a", address = "127.0.0.1:$backend" }]
health.http = "/healthz"
CONF
ostler_run ostler.toml

url=http://127.0.0.1:$front/name.txt
status() { curl --silent --max-time 20 --output "$work/body" --write-out '%{http_code}' "$@" "$url"; }

[ "$(status)" = 401 ] || fail "nobody was let in without a password"
curl --silent --head --max-time 10 "$url" | grep -qi '^www-authenticate: Basic realm="behind Ostler"' ||
    fail "curl is not asked for a password"
ok "who says nothing is asked for a password"

for pair in 'anna:open sesame' 'bert:pass:with:colons' 'carl:geheim'; do
    for _ in 1 2; do
        [ "$(status --user "$pair")" = 200 ] || fail "$pair was not let in"
        [ "$(cat "$work/body")" = a ] || fail "$pair got something else"
    done
    [ "$(status --user "${pair}x")" = 401 ] || fail "a wrong password was let in"
done
ok "hashes of htpasswd -B and of argon2 -id let their users in, and nobody else"

[ "$(status --anyauth --user 'anna:open sesame')" = 200 ] || fail "curl --anyauth does not come in"
ok "a client that waits to be asked comes in"

htpasswd -D users bert 2>/dev/null
[ "$(status --user 'bert:pass:with:colons')" = 200 ] || fail "the file was read without a reload"
"$OSTLER" reload >/dev/null || fail "the reload was refused"
[ "$(status --user 'bert:pass:with:colons')" = 401 ] || fail "who has left was let in"
ok "who leaves the file is out from the reload on"

htpasswd -bm users dora secret 2>/dev/null
if "$OSTLER" reload >reload.txt 2>&1; then fail "MD5 was taken"; fi
grep -q 'MD5 (apr1)' reload.txt || fail "nobody says why"
grep -q 'htpasswd -B' reload.txt || fail "nobody says what to do"
[ "$(status --user 'anna:open sesame')" = 200 ] || fail "a refused reload has changed something"
ok "other hashes are refused with a hint, and nothing changes"

if grep -E 'sesame|geheim|colons' "$work"/*.log access.json >/dev/null; then
    fail "a password was written to a log"
fi
ok "no password stands in a log"
