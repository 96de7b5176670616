#!/usr/bin/env bash
# Clients that people use, from their packages, through Ostler: curl, nghttp, Chromium, Node, Java,
# and Python's websockets and grpcio. What npm and pip bring is kept in the target folder.
source "$(dirname "$0")/lib.bash"
here=$root/tests/real
tools=${CARGO_TARGET_DIR:-$root/target}/clients
for program in node npm openssl python3; do
    command -v "$program" >/dev/null || skip "$program is not installed"
done
if [ ! -e "$tools/complete" ]; then
    mkdir -p "$tools"
    npm install --silent --no-audit --no-fund --prefix "$tools" playwright-core@1.65.1 >npm.log 2>&1 ||
        fail "npm did not install playwright-core"
    python3 -m pip install --quiet --target "$tools/python" websockets==17.4 grpcio==1.85.3 >pip.log 2>&1 ||
        fail "pip did not install websockets and grpcio"
    touch "$tools/complete"
fi
export PYTHONPATH=$tools/python NODE_PATH=$tools/node_modules

openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 365 -keyout site.key \
    -out site.crt -subj /CN=localhost -addext subjectAltName=DNS:localhost 2>openssl.log
chmod 600 site.key
app=$(free_port) sockets=$(free_port) plain=$(free_port) secure=$(free_port)
start app node "$here/clients_app.js" "$app"
start sockets python3 "$here/clients_python.py" serve "$sockets"
listen() { (exec 3<>"/dev/tcp/127.0.0.1/$1"); }
within 20 "the application" listen "$app"
within 20 "the WebSocket server" listen "$sockets"
cat >ostler.toml <<CONF
$(preamble)
[log]
to = "$work/access.json"
[listeners.http]
bind = ["127.0.0.1:$plain"]
protocols = ["h2c", "http/1.1"]
[listeners.web]
bind = ["127.0.0.1:$secure"]
tls.certificates = [{ cert = "site.crt", key = "site.key" }]
[[routes]]
pool = "app"
[[routes]]
path = "/upload/small"
pool = "app"
limits.body_size = "64KiB"
[[routes]]
path = "/ws"
pool = "sockets"
[pools.app]
backends = [{ id = "app", address = "127.0.0.1:$app" }]
sticky.by = "cookie"
[pools.sockets]
backends = [{ id = "sockets", address = "127.0.0.1:$sockets" }]
sticky.by = "cookie"
CONF
ostler_run ostler.toml
http=http://127.0.0.1:$plain https=https://localhost:$secure

head -c 3000000 /dev/urandom >upload.bin
hash=$(sha256sum upload.bin | cut -d' ' -f1)
fetch "http://127.0.0.1:$app/large" >large.bin
for way in "--http1.1 $https" "--http2 $https" "--http2 $http" "--http2-prior-knowledge $http" "--http1.0 $http" "--http1.0 $https"; do
    read -r option url <<<"$way"
    curl() { command curl "$option" --cacert site.crt --silent --show-error --fail --max-time 60 "$@"; }
    curl "$url/large" | cmp - large.bin || fail "curl $way: the large file arrived otherwise"
    curl "$url/upload" --data-binary @upload.bin | grep -q "$hash" || fail "curl $way: upload"
    [ "$option" = --http1.0 ] || curl "$url/upload" --upload-file - <upload.bin | grep -q "$hash" ||
        fail "curl $way: upload in chunks"
    # Debian's curl 7.88 cannot use a connection of prior knowledge twice, whoever is at the other end.
    [ "$option" = --http2-prior-knowledge ] || curl "$url/[1-20]" | tail -1 | grep -q '^GET /20$' ||
        fail "curl $way: twenty on a connection"
    curl "$url/upload" --header 'Expect: 100-continue' --data-binary @upload.bin | grep -q "$hash" ||
        fail "curl $way: an expectation"
    curl --head "$url/large" | grep -qi '^content-length: 2097152' || fail "curl $way: HEAD"
    unset -f curl
done
head -c 20000000 /dev/zero >large.up
for way in "--http1.1 $http" "--http1.1 $https" "--http2 $https" "--http2-prior-knowledge $http"; do
    read -r option url <<<"$way"
    said=$(curl "$option" --cacert site.crt --silent --max-time 60 --header Expect: --data-binary @large.up \
        --output /dev/null --write-out '%{http_code} %{errormsg}' "$url/upload/small") || true
    [ "$said" = "413 " ] || fail "curl $way: of an upload that is too large it says: $said"
done
said=$(curl --http2 --cacert site.crt --silent --output /dev/null --write-out '%{http_version}' "$https/")
[ "$said" = 2 ] || fail "curl spoke $said"
ok "curl: downloads, uploads, those that are refused, chunks, expectations and HEAD over HTTP/1.0, 1.1 and 2, with and without TLS, by ALPN, Upgrade and prior knowledge"

for version in 1.0 1.1; do
    ! curl --silent --cacert site.crt --tls-max "$version" --ciphers DEFAULT:@SECLEVEL=0 "$https/" >/dev/null ||
        fail "TLS $version was spoken"
done
for version in 1.2 1.3; do
    fetch "$https/" --cacert site.crt --tlsv"$version" --tls-max "$version" >/dev/null || fail "no TLS $version"
done
# An offer of protocols none of which we speak ends the handshake.
if openssl s_client -connect "127.0.0.1:$secure" -servername localhost -alpn spdy/1 </dev/null >alpn.log 2>&1; then
    fail "a foreign protocol was agreed upon"
fi
ok "curl and openssl: TLS 1.2 and 1.3 and nothing older, and no protocol that we do not speak"

if command -v nghttp >/dev/null; then
    urls=$(printf "$https/%s " $(seq 100))
    # shellcheck disable=SC2086
    nghttp --null-out --stat --no-verify-peer $urls >nghttp.log 2>&1 || fail "nghttp"
    [ "$(grep -c ' 200 ' nghttp.log)" = 100 ] || fail "nghttp: not each of 100 streams was answered"
    nghttp --no-verify-peer --data=upload.bin "$https/upload" 2>nghttp.log | grep -q "$hash" ||
        fail "nghttp: upload"
    nghttp --null-out --stat "$http/1" "$http/2" "$http/3" >nghttp.log 2>&1 || fail "nghttp without TLS"
    [ "$(grep -c ' 200 ' nghttp.log)" = 3 ] || fail "nghttp without TLS: not each was answered"
    ok "nghttp: 100 streams on a connection, and an upload; several on one without TLS"
else
    echo "skip $name: nghttp is not installed"
fi

for url in "$http" "$https"; do
    NODE_EXTRA_CA_CERTS=site.crt node "$here/clients_fetch.mjs" "${url/127.0.0.1/localhost}" >fetch.log 2>&1 ||
        fail "Node's fetch at $url"
done
ok "Node's fetch: thirty at once, a streamed upload, events one by one, an abort"

for url in "ws://127.0.0.1:$plain/ws" "wss://localhost:$secure/ws"; do
    python3 "$here/clients_python.py" socket "$url" site.crt >socket.log 2>&1 || fail "websockets at $url"
done
ok "Python's websockets: text, bytes, a megabyte, pings and an orderly close, with and without TLS"

python3 "$here/clients_python.py" grpc "localhost:$secure" site.crt >grpc.log 2>&1 || fail "grpcio"
ok "grpcio: unary calls, streams both ways at once, and the backend's status, as trailers"

if command -v java >/dev/null; then
    java "$here/ClientsJava.java" "$https" site.crt >java.log 2>&1 || fail "Java's HttpClient"
    ok "Java's HttpClient: fifty at once and an upload over HTTP/2 and HTTP/1.1"
else
    echo "skip $name: java is not installed"
fi

if command -v chromium >/dev/null; then
    said=$(node "$here/clients_page.js" "$https/" "$(command -v chromium)" 2>chromium.log) || fail "Chromium"
    [ "$said" = "one two three | over a socket | true | h2" ] || fail "Chromium: $said"
    socket_on_its_connection() {
        local peer
        peer=$(sed -n 's/.*"peer":"\([^"]*\)","protocol":"websocket".*/\1/p' access.json | tail -1)
        grep -q "\"peer\":\"$peer\",\"protocol\":\"h2\"" access.json
    }
    within 20 "a WebSocket on the page's own connection" socket_on_its_connection
    ok "Chromium: a page over HTTP/2 that uploads, listens to events and talks over a WebSocket on the same connection"
else
    echo "skip $name: chromium is not installed"
fi

"$OSTLER" status --check --socket "$OSTLER_SOCKET" >status.log 2>&1 || fail "something is wrong: $(cat status.log)"
failed=$(grep -Ecv '"reason":"(none|client_gone|body_too_large)"' access.json || true)
[ "$failed" = 0 ] || fail "$failed failed: $(grep -Ev '"reason":"(none|client_gone|body_too_large)"' access.json | head -3)"
ok "and not one of $(wc -l <access.json) exchanges has failed but by those who left or sent too much"
