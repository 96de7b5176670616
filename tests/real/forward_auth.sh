#!/usr/bin/env bash
# nginx says yes or no, as it would behind another nginx's auth_request; nginx is behind, too.
source "$(dirname "$0")/lib.bash"
for tool in nginx curl; do
    command -v "$tool" >/dev/null || skip "no $tool here"
done

backend=$(free_port)
guard=$(free_port)
front=$(free_port)
# What nginx sees is what it says back.
nginx_server nginx-web <<<"server { listen 127.0.0.1:$backend;
    location = /healthz { return 200 well; }
    location / { default_type text/plain; return 200 'user=\$http_remote_user seen=\$http_x_seen'; } }"
nginx_server nginx-guard <<<"server { listen 127.0.0.1:$guard;
    location = /healthz { return 200 well; }
    location = /verify {
        if (\$cookie_sso = anna) {
            add_header Remote-User anna;
            add_header X-Seen '\$request_method \$http_x_forwarded_method \$http_x_forwarded_uri';
            return 204;
        }
        return 302 http://login.test/?to=\$http_x_forwarded_host\$http_x_forwarded_uri;
    } }"
nginx_guard=$started
for port in "$backend" "$guard"; do within 10 nginx fetch "http://127.0.0.1:$port/healthz"; done

cat >ostler.toml <<CONF
$(preamble)
[listeners.http]
bind = ["127.0.0.1:$front"]
[[routes]]
pool = "web"
forward_auth = { pool = "guard", path = "/verify", response_headers = ["remote-user", "x-seen"] }
[pools.web]
backends = [{ id = "a", address = "127.0.0.1:$backend" }]
health.http = "/healthz"
[pools.guard]
backends = [{ id = "g", address = "127.0.0.1:$guard" }]
health = { http = "/healthz", interval = "200ms", rise = 1, fall = 2 }
CONF
ostler_run ostler.toml

url=http://127.0.0.1:$front/cart?item=1
told=$(curl --silent --max-time 10 --write-out ' %{http_code} %{redirect_url}' --output /dev/null "$url")
[ "$told" = " 302 http://login.test/?to=127.0.0.1:$front/cart?item=1" ] || fail "a stranger got $told"
ok "a stranger is sent to sign in"

told=$(fetch "$url" --cookie sso=anna --data a=b --header 'Remote-User: root' --header 'X-Seen: forged')
[ "$told" = 'user=anna seen=GET POST /cart?item=1' ] || fail "the backend was told $told"
ok "who has signed in is let in, and the backend knows who it is"

end "$nginx_guard"
for _ in 1 2 3; do
    told=$(curl --silent --max-time 10 --cookie sso=anna --output /dev/null --write-out '%{http_code}' "$url")
    case $told in 502 | 503) ;; *) fail "without anybody to ask it was $told" ;; esac
done
ok "where nobody can be asked nobody is let in"
