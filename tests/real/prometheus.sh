#!/usr/bin/env bash
# promtool accepts /metrics; a real Prometheus scrapes it and answers for the request rate.
# REAL_PROMETHEUS_SECONDS=60 for a longer look than the default of 20.
source "$(dirname "$0")/lib.bash"
command -v prometheus >/dev/null || skip "prometheus is not installed"

seconds=${REAL_PROMETHEUS_SECONDS:-20}
port=$(free_port) metrics=$(free_port) prometheus=$(free_port) origin=$(free_port)
nginx_backend a "$origin"
cat >ostler.toml <<CONF
$(preamble "$metrics")
[listeners.http]
bind = ["127.0.0.1:$port"]
[[routes]]
name = "site"
pool = "web"
[pools.web]
backends = [{ id = "a", address = "127.0.0.1:$origin" }]
sticky.by = "cookie"
health.http = "/healthz"
CONF
ostler_run ostler.toml
for path in / /name.txt /missing; do
    curl --silent --max-time 10 "http://127.0.0.1:$port$path" >/dev/null
done

fetch "http://127.0.0.1:$metrics/metrics" >metrics.txt
promtool check metrics <metrics.txt >promtool.log 2>&1 || fail "promtool: $(cat promtool.log)"
ok "promtool accepts $(grep -vc '^#' metrics.txt) samples"

cat >prometheus.yml <<CONF
global: { scrape_interval: 1s }
scrape_configs:
  - job_name: ostler
    static_configs: [{ targets: ["127.0.0.1:$metrics"] }]
CONF
start prometheus prometheus --config.file=prometheus.yml --storage.tsdb.path="$work/tsdb" \
    --web.listen-address="127.0.0.1:$prometheus"
traffic() {
    while :; do
        curl --silent --max-time 10 "http://127.0.0.1:$port/name.txt" >/dev/null || true
        sleep 0.05
    done
}
start traffic traffic
query() {
    curl --silent --max-time 10 --get "http://127.0.0.1:$prometheus/api/v1/query" \
        --data-urlencode "query=$1" | jq -er '.data.result[0].value[1]'
}
is() { [ "$(query "$1")" = "$2" ]; }
within 20 "a first scrape" is 'up{job="ostler"}' 1
until=$((SECONDS + seconds))
while ((SECONDS < until)); do
    sleep 1
    is 'up{job="ostler"}' 1 || fail "Prometheus lost its target"
done
rate=$(query 'sum(rate(ostler_requests_total{route="site",code="200"}[10s]))') ||
    fail "no answer for the request rate"
jq -en --arg rate "$rate" '$rate | tonumber > 1' >/dev/null || fail "the rate is $rate a second"
ok "Prometheus scraped for ${seconds} s and answers $rate requests a second"
scrapes=$(query "sum_over_time(up{job=\"ostler\"}[${seconds}s])")
all=$(query "count_over_time(up{job=\"ostler\"}[${seconds}s])")
[ "$scrapes" = "$all" ] || fail "$scrapes of $all scrapes succeeded"
ok "all $all scrapes succeeded"
slow=$(query 'histogram_quantile(0.99, sum by (le) (rate(ostler_request_duration_seconds_bucket[10s])))')
[ "$slow" != NaN ] || fail "the histogram gives no percentile"
ok "the histogram answers for the 99th percentile: $slow s"
