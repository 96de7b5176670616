#!/usr/bin/env bash
# HAProxy from Debian's package before Ostler, and curl, say who the client is by the PROXY protocol,
# versions 1 and 2, plain and before TLS.
source "$(dirname "$0")/lib.bash"

backend=$(free_port) wants=$(free_port) plain=$(free_port) tls=$(free_port) v1=$(free_port) v2=$(free_port)
nginx_backend a "$backend"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost \
    -addext subjectAltName=DNS:localhost -keyout site.key -out site.crt 2>/dev/null
chmod 600 site.key
nginx_server wants <<CONF
server {
    listen 127.0.0.1:$wants proxy_protocol;
    location = /healthz { return 200 "well"; }
    location / { return 200 "\$proxy_protocol_addr to \$proxy_protocol_server_port"; }
}
CONF
cat >ostler.toml <<CONF
$(preamble)
[log]
to = "$work/access.json"
[defaults.listeners]
trusted_proxies = ["127.0.0.1"]
proxy_protocol = "require"
[listeners.plain]
bind = ["127.0.0.1:$plain"]
[listeners.tls]
bind = ["127.0.0.1:$tls"]
tls.certificates = [{ cert = "site.crt", key = "site.key" }]
[[routes]]
path = "/v1"
pool = "v1"
[[routes]]
path = "/v2"
pool = "v2"
[defaults.pools]
health = { http = "/healthz", interval = "300ms" }
[pools.v1]
backends = [{ id = "a", address = "127.0.0.1:$wants" }]
send_proxy = "v1"
[pools.v2]
backends = [{ id = "a", address = "127.0.0.1:$wants" }]
send_proxy = "v2"
[[routes]]
pool = "web"
[pools.web]
backends = [{ id = "a", address = "127.0.0.1:$backend" }]
CONF
ostler_run ostler.toml

# logged PATH: the client of that request.
logged() { jq -er "select(.path == \"$1\") | .client" access.json; }
client_is() { [ "$(logged "$1")" = "$2" ]; }

fetch "http://127.0.0.1:$plain/name.txt" --haproxy-protocol >/dev/null
within 5 "a log line of curl's header" client_is /name.txt 127.0.0.1
ok "curl --haproxy-protocol is served"

if curl --silent --max-time 5 "http://127.0.0.1:$plain/none" >/dev/null; then
    fail "a connection without a header was served"
fi
ok "a connection without a header is closed"

cat >haproxy.cfg <<CONF
global
    stats socket $work/haproxy.sock
defaults
    mode tcp
    timeout connect 5s
    timeout client 30s
    timeout server 30s
listen one
    bind 127.0.0.1:$v1
    server ostler 127.0.0.1:$plain send-proxy
listen two
    bind 127.0.0.1:$v2
    server ostler 127.0.0.1:$tls send-proxy-v2 check check-send-proxy
CONF
start haproxy haproxy -f haproxy.cfg -db
within 10 "HAProxy" fetch "http://127.0.0.1:$v1/large.bin" --interface 127.0.0.9 --output got.bin
cmp got.bin large.bin || fail "2 MiB arrived otherwise than they lie on the disk"
within 5 "the client behind HAProxy" client_is /large.bin 127.0.0.9
ok "HAProxy's send-proxy names the client"

fetch "https://localhost:$v2/index.html" --interface 127.0.0.8 --cacert site.crt --http2 \
    --resolve "localhost:$v2:127.0.0.1" >/dev/null
within 5 "the client behind HAProxy and TLS" client_is /index.html 127.0.0.8
ok "HAProxy's send-proxy-v2 names the client before TLS"

for version in v1 v2; do
    told=$(fetch "http://127.0.0.1:$v1/$version/" --interface 127.0.0.7)
    [ "$told" = "127.0.0.7 to $v1" ] || fail "nginx was told $told by $version"
    told=$(fetch "http://127.0.0.1:$v1/$version/" --interface 127.0.0.6)
    [ "$told" = "127.0.0.6 to $v1" ] || fail "nginx was told $told by $version"
done
"$OSTLER" check -c ostler.toml --connect >/dev/null || fail "check --connect cannot connect"
ok "nginx is told of each client by send_proxy, v1 and v2, and its checks pass"
