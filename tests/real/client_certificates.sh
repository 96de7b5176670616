#!/usr/bin/env bash
# An authority of openssl, its clients by curl --cert, and its revocation list, in PEM and in DER.
source "$(dirname "$0")/lib.bash"

backend=$(free_port) closed=$(free_port) open=$(free_port)
quietly() { "$@" >>openssl.log 2>&1 || fail "$*"; }
key() { quietly openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1.key"; }

key ca
quietly openssl req -x509 -key ca.key -days 2 -subj "/O=Partners/CN=Partners CA" -out ca.crt
cat >ca.cnf <<CONF
[ca]
default_ca = partners
[partners]
dir = $work
database = $work/index.txt
certificate = $work/ca.crt
private_key = $work/ca.key
crlnumber = $work/crlnumber
default_md = sha256
default_crl_days = 1
CONF
: >index.txt
echo 01 >crlnumber
revocation_list() { quietly openssl ca -config ca.cnf -gencrl -out "$1"; }
printf 'extendedKeyUsage = clientAuth\n' >client.ext
serial=10
for client in alice bob; do
    key "$client"
    quietly openssl req -new -key "$client.key" -subj "/O=Partners/CN=$client" -out "$client.csr"
    quietly openssl x509 -req -in "$client.csr" -CA ca.crt -CAkey ca.key -set_serial "$serial" \
        -days 1 -extfile client.ext -out "$client.crt"
    serial=$((serial + 1))
done
quietly openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost \
    -addext subjectAltName=DNS:localhost -keyout site.key -out site.crt
quietly openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=mallory \
    -keyout mallory.key -out mallory.crt
chmod 600 site.key
revocation_list clients.crl

nginx_server tells <<CONF
server {
    listen 127.0.0.1:$backend;
    location / { return 200 "\$http_client_cert"; }
}
CONF
within 10 "nginx" fetch "http://127.0.0.1:$backend/"
cat >ostler.toml <<CONF
$(preamble)
[listeners.closed]
bind = ["127.0.0.1:$closed"]
[listeners.closed.tls]
certificates = [{ cert = "site.crt", key = "site.key" }]
client_auth = "require"
client_ca = "ca.crt"
crl = ["clients.crl"]
client_cert_header = true
[listeners.open]
bind = ["127.0.0.1:$open"]
tls.certificates = [{ cert = "site.crt", key = "site.key" }]
[[routes]]
pool = "web"
[pools.web]
backends = [{ id = "a", address = "127.0.0.1:$backend" }]
CONF
ostler_run ostler.toml

# as CLIENT [CURL OPTIONS…]: what the backend was told.
as() {
    fetch "https://localhost:$closed/" --cacert site.crt --cert "$1.crt" --key "$1.key" "${@:2}"
}
der() { printf ':%s:' "$(openssl x509 -in "$1.crt" -outform DER | base64 -w 0)"; }
for version in "--tlsv1.3" "--tls-max 1.2"; do
    for client in alice bob; do
        # shellcheck disable=SC2086
        told=$(as "$client" $version -H "Client-Cert: :AAAA:")
        [ "$told" = "$(der "$client")" ] || fail "of $client nginx was told $told"
    done
done
ok "curl --cert is served by TLS 1.2 and 1.3, and nginx is told the certificate (RFC 9440)"

for version in "--tlsv1.3" "--tls-max 1.2"; do
    # shellcheck disable=SC2086
    if fetch "https://localhost:$closed/" --cacert site.crt $version 2>/dev/null; then
        fail "curl without a certificate was served ($version)"
    fi
    # shellcheck disable=SC2086
    if as mallory $version 2>/dev/null; then fail "somebody else's certificate was served"; fi
done
ok "no certificate, and one of another authority, end the handshake"

# reuses PORT FROM TO VERSION: whether openssl resumes there the session that it has had here.
reuses() {
    rm -f session.pem
    (printf 'GET / HTTP/1.0\r\n\r\n'; sleep 1) | openssl s_client -connect "localhost:$1" -"$3" \
        -CAfile site.crt -cert alice.crt -key alice.key -sess_out session.pem >from.out 2>&1 || true
    [ -s session.pem ] || return 1
    (printf 'GET / HTTP/1.0\r\n\r\n'; sleep 1) | openssl s_client -connect "localhost:$2" -"$3" \
        -CAfile site.crt -cert alice.crt -key alice.key -sess_in session.pem >to.out 2>&1 || true
    grep -q '^Reused' to.out
}
for version in tls1_2 tls1_3; do
    reuses "$open" "$open" "$version" || fail "openssl resumes nothing where nobody is asked ($version)"
    ! reuses "$open" "$closed" "$version" || fail "a session came from one listener to another ($version)"
    ! reuses "$closed" "$closed" "$version" || fail "a session was resumed without a certificate ($version)"
done
ok "openssl resumes where nobody is asked, and never past a certificate that must be shown"

refused() { ! as "$1"; }
quietly openssl ca -config ca.cnf -revoke alice.crt
revocation_list next.crl
mv next.crl clients.crl
within 20 "the new list" refused alice
[ "$(as bob)" = "$(der bob)" ] || fail "bob is no longer served"
ok "who was revoked is refused without a reload, and others are served"

quietly openssl ca -config ca.cnf -revoke bob.crt
revocation_list next.crl
quietly openssl crl -in next.crl -outform DER -out next.der
mv next.der clients.crl
within 20 "the list in DER" refused bob
ok "the same by a list in DER"
