#!/usr/bin/env bash
# What strangers find out about our TLS: sslyze with Mozilla's intermediate and modern profiles, and
# testssl.sh from Debian. Certificates are of an authority that both are told to trust.
source "$(dirname "$0")/lib.bash"

command -v testssl >/dev/null || skip "testssl.sh is not installed"
tools=${CARGO_TARGET_DIR:-$root/target}/sslyze
if [ ! -e "$tools/complete" ]; then
    mkdir -p "$tools"
    python3 -m pip install --quiet --target "$tools" sslyze==6.3.1 >pip.log 2>&1 ||
        fail "pip did not install sslyze"
    touch "$tools/complete"
fi

quietly() { "$@" >openssl.log 2>&1 || fail "$*"; }
quietly openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 90 \
    -subj "/CN=Test authority" -addext keyUsage=critical,keyCertSign,cRLSign -keyout ca.key -out ca.crt
cat >site.ext <<CONF
subjectAltName = DNS:localhost
basicConstraints = critical, CA:false
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
authorityKeyIdentifier = keyid
CONF
issue() {
    quietly openssl req -new -newkey "${@:2}" -nodes -subj /CN=localhost -keyout "$1.key" -out "$1.csr"
    quietly openssl x509 -req -in "$1.csr" -CA ca.crt -CAkey ca.key -CAcreateserial -days 90 \
        -extfile site.ext -out "$1.crt"
    chmod 600 "$1.key"
}
issue rsa rsa:2048
issue ecdsa ec -pkeyopt ec_paramgen_curve:P-256
rsa=$(free_port) ecdsa=$(free_port) modern=$(free_port)
cat >ostler.toml <<CONF
$(preamble)
[listeners.rsa]
bind = ["127.0.0.1:$rsa"]
tls.certificates = [{ cert = "rsa.crt", key = "rsa.key" }]
[listeners.ecdsa]
bind = ["127.0.0.1:$ecdsa"]
tls.certificates = [{ cert = "ecdsa.crt", key = "ecdsa.key" }]
[listeners.modern]
bind = ["127.0.0.1:$modern"]
tls.certificates = [{ cert = "ecdsa.crt", key = "ecdsa.key" }]
tls.min_version = "1.3"
[[routes]]
respond.body = "ok"
CONF
ostler_run ostler.toml

# sslyze PROFILE PORT
sslyze() {
    PYTHONPATH=$tools timeout 120 python3 -m sslyze --mozilla_config="$1" --certinfo_ca_file=ca.crt \
        "localhost:$2" >"sslyze-$2.log" 2>&1 && grep -q "OK - Compliant" "sslyze-$2.log"
}
sslyze intermediate "$rsa" || fail "sslyze finds fault with RSA"
sslyze intermediate "$ecdsa" || fail "sslyze finds fault with ECDSA"
sslyze modern "$modern" || fail "sslyze finds fault with min_version = \"1.3\""
ok "sslyze: Mozilla's intermediate profile is met, and the modern one with min_version = \"1.3\""

# Protocols, ciphers, forward secrecy, server defaults, vulnerabilities: all but HTTP's own fields.
timeout 300 testssl --quiet --color 0 --warnings batch --ip 127.0.0.1 --add-ca ca.crt \
    --jsonfile testssl.json -p -s -f -P -S -U "localhost:$ecdsa" >testssl.log 2>&1 || true
findings=$(jq '[.[] | select(.severity == "OK")] | length' testssl.json)
((findings > 20)) || fail "testssl.sh has looked at $findings things only"
# Left out: that nobody can revoke the test's certificate or has a record in DNS for it, what
# testssl.sh cannot do with the openssl of this machine, and its look at tickets, for which it leaves
# before that of TLS 1.3 may have come (client_certificates.sh looks at them).
wrong=$(jq -r '.[] | select(.severity | IN("LOW", "MEDIUM", "HIGH", "CRITICAL", "FATAL", "WARN"))
    | select(.id | IN("cert_revocation", "DNS_CAArecord", "engine_problem", "sessionresumption_ticket") | not)
    | "\(.severity) \(.id): \(.finding)"' testssl.json)
[ -z "$wrong" ] || fail "testssl.sh finds fault:
$wrong"
ok "testssl.sh: $findings findings are OK, and none is worse"
