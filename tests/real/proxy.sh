#!/usr/bin/env bash
# `ostler proxy` in front of a program that is already running, and its `--print` under `run`.
source "$(dirname "$0")/lib.bash"
command -v python3 >/dev/null || skip "python3 is not installed"

one=$(free_port) two=$(free_port) port=$(free_port)
mkdir site
echo "hello from a real program" >site/index.html
for each in "$one" "$two"; do
    start "python-$each" python3 -m http.server --bind 127.0.0.1 --directory site "$each"
    within 20 "python on $each" fetch "http://127.0.0.1:$each/"
done

hello() { fetch "http://127.0.0.1:$port/" | grep -q 'hello from a real program'; }
start proxy "$OSTLER" proxy "127.0.0.1:$one" "127.0.0.1:$two" --listen "127.0.0.1:$port"
proxy=$started
within 20 "the program through the proxy" hello
ok "ostler proxy serves what runs already"
for _ in $(seq 10); do
    fetch "http://127.0.0.1:$port/" --cookie jar --cookie-jar jar --output /dev/null
done
grep -q ostler- jar || fail "no session cookie: $(cat jar)"
ok "it keeps sessions"
end "$proxy"
closed() { ! hello; }
within 10 "the end of the proxy" closed

"$OSTLER" proxy "127.0.0.1:$one" "127.0.0.1:$two" --listen "127.0.0.1:$port" --print >ostler.toml
"$OSTLER" check -c ostler.toml >check.log 2>&1 || fail "check: $(cat check.log)"
start run "$OSTLER" run -c ostler.toml
within 20 "the program through the printed file" hello
ok "what --print writes is a file that ostler run serves"
