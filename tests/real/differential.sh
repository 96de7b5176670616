#!/usr/bin/env bash
# Raw requests, clean, odd and hostile, through Ostler to nginx, Apache and Node: what each of them
# saw is what the access log says, request for request, and every body is equal byte for byte.
source "$(dirname "$0")/lib.bash"
for program in nginx apache2 node python3; do
    command -v "$program" >/dev/null || skip "$program is not installed"
done
here=$root/tests/real
nginx=$(free_port) inner=$(free_port) apache=$(free_port) node=$(free_port)
touch nginx.seen apache.seen node.seen
tab=$'\t'

# nginx knows a body only where it passes it on, so it passes it on to itself, and logs it whole.
nginx_server nginx <<CONF
    log_format seen escape=json
        '{"id":"\$http_x_request_id","status":\$status,"host":"\$http_host","line":"\$request","body":"\$request_body"}';
    large_client_header_buffers 8 128k;
    client_body_buffer_size 256k;
    client_max_body_size 0;
    keepalive_requests 1000000;
    merge_slashes off;
    underscores_in_headers on;
    server {
        listen 127.0.0.1:$nginx;
        access_log $work/nginx.seen seen;
        location / { proxy_pass http://127.0.0.1:$inner/taken; proxy_request_buffering on; }
        location = /healthz { access_log off; return 200 "well"; }
    }
    server {
        listen 127.0.0.1:$inner;
        location / { return 200 "ok\n"; }
    }
CONF

# Apache's script reads the body and tells its hash in a field that goes to the log.
mkdir -p apache/site
cat >apache/site/taken <<'SCRIPT'
#!/bin/sh
hash=$(sha1sum)
printf 'Content-Type: text/plain\nX-Body: %s\n\nok\n' "${hash%% *}"
SCRIPT
chmod -R go+rX apache "$work"
chmod +x apache/site/taken
modules=$(ls -d /usr/lib/apache2/modules)
cat >apache/apache.conf <<CONF
ServerRoot $work/apache
ServerName localhost
PidFile $work/apache/pid
Listen 127.0.0.1:$apache
LoadModule mpm_prefork_module $modules/mod_mpm_prefork.so
LoadModule authz_core_module $modules/mod_authz_core.so
LoadModule alias_module $modules/mod_alias.so
LoadModule rewrite_module $modules/mod_rewrite.so
LoadModule cgi_module $modules/mod_cgi.so
User www-data
Group www-data
ErrorLog $work/apache-errors.log
StartServers 8
MaxRequestWorkers 64
KeepAliveTimeout 75
MaxKeepAliveRequests 0
LimitRequestLine 131072
LimitRequestFieldSize 131072
LimitRequestFields 0
AllowEncodedSlashes NoDecode
MergeSlashes Off
LogFormat "%{X-Request-Id}i$tab%>s$tab%{Host}i$tab%r$tab%{X-Body}o" seen
CustomLog $work/apache.seen seen
RewriteEngine On
RewriteRule ^ $work/apache/site/taken [H=cgi-script,L]
<Directory $work/apache/site>
    Options +ExecCGI
    Require all granted
</Directory>
CONF
# On its end Apache ends its whole process group.
start apache setsid apache2 -D FOREGROUND -f "$work/apache/apache.conf"
start node node "$here/differential_node.js" "$node" "$work/node.seen"

listen() { (exec 3<>"/dev/tcp/127.0.0.1/$1"); }
declare -A ports
for backend in nginx apache node; do
    within 20 "$backend" listen "${!backend}"
    ports[$backend]=$(free_port)
    listeners+="
[listeners.$backend]
bind = [\"127.0.0.1:${ports[$backend]}\"]
timeouts = { header = \"2s\", idle = \"2s\", body = \"2s\" }
[[routes]]
listeners = [\"$backend\"]
pool = \"$backend\"
[pools.$backend]
backends = [{ id = \"$backend\", address = \"127.0.0.1:${!backend}\" }]
health.tcp = true
"
done
cat >ostler.toml <<CONF
$(preamble)
[log]
to = "$work/access.json"
query = "keep"
${listeners:-}
CONF
ostler_run ostler.toml

for backend in nginx apache node; do
    said=$(python3 "$here/differential.py" "$backend" "${ports[$backend]}" "$work/$backend.seen" \
        "$work/access.json") || fail "$backend and the log do not agree"
    ok "$said"
done
