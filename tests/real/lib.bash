# What the scripts of this folder share: a folder of their own, processes that end with them,
# deadlines, and a count of what they showed. Source it; it sets up and cleans up.
set -euo pipefail

name=$(basename "$0" .sh)
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
OSTLER=${OSTLER:-${CARGO_TARGET_DIR:-$root/target}/debug/ostler}
case $OSTLER in /*) ;; *) OSTLER=$PWD/$OSTLER ;; esac
PATH=$PATH:/usr/sbin:/sbin
work=$(mktemp -d "${TMPDIR:-/tmp}/ostler-$name.XXXXXX")
pids=()
passed=0
# Nothing here may find, or be found by, another Ostler of this machine.
export OSTLER_SOCKET=$work/admin.sock XDG_RUNTIME_DIR=$work STATE_DIRECTORY=$work/state
export NO_COLOR=1
unset NOTIFY_SOCKET
mkdir -p "$work/state"
cd "$work"

leave() {
    local code=$? pid
    trap - EXIT
    # A child that is ended before it has put off our traps must not clean up.
    [ "$BASHPID" = $$ ] || exit "$code"
    for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
    for pid in "${pids[@]}"; do
        for _ in $(seq 50); do kill -0 "$pid" 2>/dev/null || break; sleep 0.1; done
        kill -9 "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
    if ((code != 0)); then
        echo "--- the end of what was said in $work:" >&2
        for file in "$work"/*.log; do
            [ -f "$file" ] && { echo "--- $(basename "$file")"; tail -n 20 "$file"; } >&2
        done
    fi
    rm -rf "$work"
    ((code == 0)) && echo "$name: $passed passed"
    exit "$code"
}
trap leave EXIT
trap 'exit 130' INT TERM

ok() { passed=$((passed + 1)); echo "ok   $name: $*"; }
fail() { echo "FAIL $name: $*" >&2; exit 1; }

# skip WHY: nothing is shown, and that is said.
skip() { echo "skip $name: $*"; exit 0; }

# start LOG COMMAND…: in the background, ended with the script; its process id is in $started.
# It reads from the file named by $input, else nothing.
start() {
    local log=$1
    shift
    "$@" <"${input:-/dev/null}" >"$work/$log.log" 2>&1 &
    started=$!
    pids+=("$started")
}

# end PID [SIGNAL]: ends one of them now.
end() {
    kill "-${2:-TERM}" "$1" 2>/dev/null || true
    wait "$1" 2>/dev/null || true
}

# within SECONDS WHAT COMMAND…: tries until it succeeds.
within() {
    local until=$((SECONDS + $1)) what=$2
    shift 2
    until "$@" >/dev/null 2>&1; do
        ((SECONDS < until)) || fail "not in time: $what"
        sleep 0.1
    done
}

# A port of 127.0.0.1 that nobody listens on.
free_port() {
    local port
    while :; do
        port=$((20000 + RANDOM % 12000))
        (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || { echo "$port"; return; }
    done
}

# fetch URL [CURL OPTIONS…]: body to standard output, an error for anything but 2xx and 3xx.
fetch() { curl --silent --show-error --fail --max-time 10 "${@:2}" "$1"; }

# nginx_server NAME: nginx as one process in a folder of that name; what stands in `http {}` comes
# from standard input.
nginx_server() {
    local folder=$work/$1
    mkdir -p "$folder/temp"
    cat >"$folder/nginx.conf" <<CONF
daemon off;
master_process off;
pid $folder/nginx.pid;
error_log stderr;
events {}
http {
    access_log off;
    client_body_temp_path $folder/temp/body;
    proxy_temp_path $folder/temp/proxy;
    fastcgi_temp_path $folder/temp/fastcgi;
    uwsgi_temp_path $folder/temp/uwsgi;
    scgi_temp_path $folder/temp/scgi;
$(cat)
}
CONF
    start "$1" nginx -p "$folder" -c "$folder/nginx.conf" -e stderr
}

# nginx_backend NAME PORT [SHOP]: Debian's nginx as one process that serves files which say NAME,
# and asks the shop on that port for /cart.
nginx_backend() {
    local folder=$work/nginx-$1 cart=
    [ -z "${3-}" ] || cart="location /cart { proxy_pass http://127.0.0.1:$3; }"
    mkdir -p "$folder/site"
    echo "$1" >"$folder/site/name.txt"
    echo "<!doctype html><title>$1</title><p>Served by $1." >"$folder/site/index.html"
    [ -f "$work/large.bin" ] || head -c 2097152 /dev/urandom >"$work/large.bin"
    cp "$work/large.bin" "$folder/site/large.bin"
    nginx_server "nginx-$1" <<CONF
types { text/html html; text/plain txt; application/octet-stream bin; }
server {
    listen 127.0.0.1:$2;
    root $folder/site;
    location = /healthz { return 200 "well"; }
    $cart
}
CONF
    within 10 "nginx $1 on $2" fetch "http://127.0.0.1:$2/healthz"
}

# shop_backend NAME PORT: a server that keeps carts in memory and says who it is (see shop.py).
shop_backend() {
    start "shop-$1" python3 "$root/tests/real/shop.py" "$1" "$2"
    within 20 "shop $1 on $2" fetch "http://127.0.0.1:$2/healthz"
}

# preamble [METRICS PORT]: the tables of a file that keep Ostler in this folder; [runtime] is last.
preamble() {
    cat <<CONF
[admin]
socket = "$OSTLER_SOCKET"
[metrics]
bind = "127.0.0.1:${1:-0}"
[runtime]
state_dir = "$work/state"
CONF
}

# ostler_run FILE: `ostler run`, until it is ready; its process id is in $started.
ostler_run() {
    start ostler "$OSTLER" run -c "$1"
    local pid=$started
    within 20 "an Ostler that serves" listening "$pid"
}
listening() {
    kill -0 "$1" 2>/dev/null || fail "Ostler ended at once"
    "$OSTLER" status --json --socket "$OSTLER_SOCKET"
}

[ -x "$OSTLER" ] || fail "no binary at $OSTLER; cargo build makes it"
