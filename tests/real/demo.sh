#!/usr/bin/env bash
# The demo as a new user meets it: without a terminal and with one, and its commands as printed.
source "$(dirname "$0")/lib.bash"

# backend_of HEAD BODY: who answered, by the field `x-backend` or by what the page says.
backend_of() {
    local who
    who=$(tr -d '\r' <"$1" | sed -n 's/^[Xx]-[Bb]ackend: *//p' | tail -n 1)
    [ -n "$who" ] || who=$(grep -oiE 'backend[- ]?[0-9a-z]+' "$2" | head -n 1)
    echo "$who"
}

# printed LOG: the curl commands it printed, at most three, without prompts and colours.
printed() {
    tr -d '\r' <"$1" | sed -e 's/\x1b\[[0-9;]*m//g' -e 's/^[[:space:]$>]*//' | grep '^curl ' |
        head -n 3
}
three() { [ "$(printed "$1" | wc -l)" -eq 3 ]; }

try() {
    local log=$1 how=$2 command url
    within 30 "three curl commands" three "$log"
    printed "$log" >commands.txt
    url=$(grep -o 'https://[^ "'\'']*' commands.txt | head -n 1)
    [ -n "$url" ] || fail "no https among the commands: $(cat commands.txt)"
    within 20 "the demo at $url" curl --silent --insecure --max-time 5 "$url"
    while IFS= read -r command; do
        timeout 60 bash -c "$command" >said.txt 2>error.txt </dev/null ||
            fail "$how: '$command' ended with $?: $(cat error.txt)"
        [ -s said.txt ] || fail "$how: '$command' said nothing"
    done <commands.txt
    ok "$how: the three printed commands work as printed"

    local version names
    for version in 1.1 2; do
        rm -f jar
        names=$(for _ in $(seq 20); do
            visit "$version" "$url" --cookie jar --cookie-jar jar || exit 1
        done | sort -u) || fail "$how: a request over HTTP/$version failed"
        [[ $names =~ ^[^[:space:]]+(\ [^[:space:]]+)?$ ]] || fail "$how: a jar saw '$names'"
        ok "$how, HTTP/$version: 20 requests with a jar land on $names"
        names=$(for _ in $(seq 20); do visit "$version" "$url" || exit 1; done | sort -u)
        [ "$(wc -l <<<"$names")" -eq 3 ] || fail "$how: 20 without a jar saw '$names'"
        ok "$how, HTTP/$version: 20 without spread over three"
    done
}

# visit VERSION URL [CURL OPTIONS…]: one request over exactly that version; prints who answered.
visit() {
    local spoken
    spoken=$(fetch "$2" "--http$1" --insecure --dump-header head.txt --output body.txt \
        --write-out '%{http_version}' "${@:3}") || return 1
    [ "$spoken" = "$1" ] || { echo "it spoke HTTP/$spoken instead of $1" >&2; return 1; }
    backend_of head.txt body.txt
}

start demo "$OSTLER" demo
demo=$started
try "$work/demo.log" "without a terminal"
others=$(find . -newer commands.txt -type f ! -name '*.txt' ! -name '*.log' ! -name jar \
    ! -path './certs/*' ! -path './state/*' | head)
[ -z "$others" ] || fail "the demo wrote $others"
end "$demo"
ok "without a terminal: SIGTERM ends it"

# on_terminal LOG COMMAND: `script` gives it a terminal, and what it prints goes to the log. A
# terminal that goes away is a SIGHUP, which means reload: the program is ended by its own id.
mkfifo keyboard
exec 9<>keyboard
on_terminal() {
    input=$work/keyboard start "$1" script --quiet --flush --return --command "exec $2" /dev/null
    within 10 "a program on the terminal" pgrep -P "$started"
    program=$(pgrep -P "$started" | head -n 1)
    pids+=("$program")
}
gone() { ! kill -0 "$program"; }

on_terminal terminal "$OSTLER demo"
try "$work/terminal.log" "with a terminal"
end "$program"
within 20 "the end of the demo" gone
ok "with a terminal: SIGTERM ends it"

if [ ! -e /etc/ostler/ostler.toml ]; then
    on_terminal alone "$OSTLER"
    within 30 "three curl commands" three "$work/alone.log"
    ok "on a terminal and without a file, ostler alone is the demo"
fi
