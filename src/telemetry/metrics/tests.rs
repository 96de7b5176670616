//! The naming rules, and a page as it is written.

use std::collections::BTreeSet;

use super::super::counters::Histogram;
use super::*;

/// One series of every family, as text.
fn everything() -> String {
    let histogram = Histogram::default();
    histogram.observe(Duration::from_millis(3));
    let mut sum = HistogramSum::default();
    sum.add(&histogram);
    let mut families = Families::default();
    for (family, description) in Family::ALL.iter().zip(FAMILIES) {
        let labels = vec!["x"; family.labels().len()];
        match description.kind {
            Kind::Counter => families.counter(*family, &labels, 7_u64),
            Kind::Gauge => families.gauge(*family, &labels, true),
            Kind::Histogram => families.histogram(*family, &labels, &sum),
        }
    }
    prometheus::TextEncoder::new().encode_to_string(&families.finish()).unwrap()
}

#[test]
fn every_family_keeps_the_naming_rules() {
    let names: BTreeSet<_> = FAMILIES.iter().map(|family| family.name).collect();
    assert_eq!(names.len(), FAMILIES.len());
    for family in FAMILIES {
        let counter = family.kind == Kind::Counter;
        assert_eq!(family.name.ends_with("_total"), counter, "{}", family.name);
        assert!(!family.name.ends_with("_count") && !family.name.ends_with("_sum"));
        assert!(family.help.ends_with('.'), "{}", family.name);
        assert!(family.name.starts_with("ostler_") || family.name.starts_with("process_"));
    }
}

#[test]
fn a_series_is_written_with_its_labels_in_order() {
    let mut families = Families::default();
    families.counter(Family::Requests, &["shop", "GET", "200", "none"], 3_u64);
    families.gauge(Family::BuildInfo, &["1.0"], true);
    let text = prometheus::TextEncoder::new().encode_to_string(&families.finish()).unwrap();
    assert!(text.contains(
        r#"ostler_requests_total{route="shop",method="GET",code="200",reason="none"} 3"#
    ));
    assert!(text.contains(r#"ostler_build_info{version="1.0"} 1"#));
    assert!(!text.contains("process_"), "a family without series is left out");
}

#[test]
fn a_histogram_ends_with_the_bucket_of_everything() {
    let text = everything();
    let labels = r#"route="x",class="x""#;
    let bucket = |le| format!("_bucket{{{labels},le=\"{le}\"}}");
    assert!(text.contains(&format!("{} 0\n", bucket("0.0025"))));
    assert!(text.contains(&format!("{} 1\n", bucket("0.005"))));
    assert!(text.contains(&format!("{} 1\n", bucket("+Inf"))));
    assert!(text.contains(&format!("_sum{{{labels}}} 0.003\n")));
    assert!(text.contains(&format!("_count{{{labels}}} 1\n")));
}

#[test]
fn promtool_finds_nothing_to_say_where_it_is_installed() {
    use std::io::Write as _;
    use std::process::{Command, Stdio};
    let mut promtool = Command::new("promtool");
    promtool.args(["check", "metrics"]).stdin(Stdio::piped()).stderr(Stdio::piped());
    let Ok(mut promtool) = promtool.stdout(Stdio::piped()).spawn() else { return };
    promtool.stdin.take().unwrap().write_all(everything().as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
