//! What a maintenance folder means: names, contents, what lies there besides.

use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;

use proptest::prelude::*;

use super::*;

const HOUR: Duration = Duration::from_hours(1);

fn address(text: &str) -> Target {
    Target::Address(text.to_owned())
}

fn backend(pool: &str, id: &str) -> Target {
    Target::Backend { pool: pool.to_owned(), id: id.to_owned() }
}

#[expect(clippy::option_option, reason = "the field's own type")]
fn says(content: &str) -> (Option<Option<Duration>>, Option<String>) {
    let touched = parse("shop:a", content).unwrap();
    (touched.deadline, touched.reason)
}

#[test]
fn a_name_is_a_backend_or_an_address() {
    let forms = [
        ("shop:a", backend("shop", "a")),
        ("shop.eu:10.0.0.1-8080", backend("shop.eu", "10.0.0.1-8080")),
        ("10.0.0.11", address("10.0.0.11")),
        ("10.0.0.11:8080", address("10.0.0.11:8080")),
        ("2001:db8::1", address("2001:db8::1")),
        ("[2001:DB8::1]", address("2001:db8::1")),
        ("[2001:db8:0::1]:8080", address("[2001:db8::1]:8080")),
    ];
    for (name, target) in forms {
        let expected = Touched { target, deadline: None, reason: None };
        assert_eq!(parse(name, ""), Ok(expected), "{name}");
    }
}

#[test]
fn any_other_name_is_a_mistake_that_lists_the_forms() {
    let long = "a".repeat(65);
    let long = format!("shop:{long}");
    for name in ["", "shop", "shop:", ":a", "shop:-a", "shop:a:b", "shop a:b", "[::1", &long] {
        let mistake = parse(name, "").unwrap_err();
        assert_eq!(mistake.target, None, "{name}");
        assert!(mistake.to_string().contains("POOL:ID"), "{mistake}");
    }
}

#[test]
fn the_first_word_is_the_deadline_where_it_is_a_duration() {
    assert_eq!(says(""), (None, None));
    assert_eq!(says(" \n"), (None, None));
    assert_eq!(says("1h\n"), (Some(Some(HOUR)), None));
    assert_eq!(says("none"), (Some(None), None));
    assert_eq!(says("1h new kernel\n"), (Some(Some(HOUR)), Some("new kernel".to_owned())));
    assert_eq!(says("none\nrack\t7"), (Some(None), Some("rack 7".to_owned())));
    assert_eq!(says("new kernel, 1h"), (None, Some("new kernel, 1h".to_owned())));
    assert_eq!(says("2 disks are gone"), (None, Some("2 disks are gone".to_owned())));
}

#[test]
fn a_reason_is_one_line_of_bounded_length() {
    let (_, reason) = says(&format!("1h a\u{1b}[31m\u{7f}\r\nb {}", "x".repeat(900)));
    let reason = reason.unwrap();
    assert!(reason.starts_with("a [31m b xxx"), "{reason}");
    assert_eq!(reason.chars().count(), 500);
}

#[test]
fn what_is_too_long_is_a_mistake_that_knows_its_target() {
    let mistake = parse("shop:a", &"x".repeat(4_097)).unwrap_err();
    assert_eq!(mistake.target, Some(backend("shop", "a")));
    assert_eq!(mistake.to_string(), "shop:a: it has more than 4096 bytes");
    assert!(parse("shop:a", &"x".repeat(4_096)).is_ok());
}

#[test]
fn a_folder_is_read_in_order_without_what_nobody_means() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("shop:b"), "2h new kernel").unwrap();
    fs::write(at("10.0.0.1"), "").unwrap();
    for name in [".shop:c.swp", ".hidden", "shop:c~", "shop:c.swp", "README", "README.txt"] {
        fs::write(at(name), "").unwrap();
    }
    fs::create_dir(at("shop:d")).unwrap();
    fs::write(at("shop:d/shop:e"), "").unwrap();
    symlink(at("shop:b"), at("shop:a")).unwrap();
    let read = read(folder.path()).unwrap();
    let kernel = |id| Touched {
        target: backend("shop", id),
        deadline: Some(Some(HOUR * 2)),
        reason: Some("new kernel".to_owned()),
    };
    let first = Touched { target: address("10.0.0.1"), deadline: None, reason: None };
    assert_eq!(read.touched, [kernel("a"), kernel("b"), first]);
    assert_eq!(read.mistakes, []);
}

#[test]
fn a_file_that_cannot_be_used_is_told_and_keeps_its_target() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("shop:a"), [0xff, 0xfe]).unwrap();
    fs::write(at("shop:b"), vec![b'x'; 10_000]).unwrap();
    symlink(at("nowhere"), at("shop:c")).unwrap();
    symlink("/dev/null", at("shop:d")).unwrap();
    symlink(at("shop:e"), at("shop:e")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, at("shop:f"), 0o600.into()).unwrap();
    fs::write(at("web3"), "").unwrap();
    fs::write(folder.path().join(OsStr::from_bytes(b"shop:\xff")), "").unwrap();
    let read = read(folder.path()).unwrap();
    assert_eq!(read.touched, []);
    let known: Vec<_> = read.mistakes.iter().map(|it| (&*it.name, it.target.clone())).collect();
    let told = |id: &'static str, name: &'static str| (name, Some(backend("shop", id)));
    let expected = [
        told("a", "shop:a"),
        told("b", "shop:b"),
        told("c", "shop:c"),
        told("d", "shop:d"),
        told("e", "shop:e"),
        told("f", "shop:f"),
        ("shop:\u{fffd}", None),
        ("web3", None),
    ];
    assert_eq!(known, expected);
}

#[test]
fn two_files_for_one_target_are_told_and_the_first_holds() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("[0:0::1]:80"), "1h").unwrap();
    fs::write(folder.path().join("[::1]:80"), "2h").unwrap();
    let read = read(folder.path()).unwrap();
    assert_eq!(read.touched.len(), 1);
    assert_eq!(read.touched[0].deadline, Some(Some(HOUR)));
    assert_eq!(read.mistakes.len(), 1);
    assert!(read.mistakes[0].to_string().contains("[0:0::1]:80"), "{}", read.mistakes[0]);
}

#[test]
fn a_folder_that_is_missing_or_too_full_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    assert!(read(&folder.path().join("missing")).is_err());
    for number in 0..MOST_FILES {
        fs::write(folder.path().join(format!("shop:{number}")), "").unwrap();
    }
    assert_eq!(read(folder.path()).unwrap().touched.len(), MOST_FILES);
    fs::write(folder.path().join("shop:more"), "").unwrap();
    assert!(read(folder.path()).is_err());
}

proptest! {
    #[test]
    fn a_target_that_was_read_reads_back_as_itself(
        name in "(\\[)?[0-9a-f:.]{1,24}(\\])?(:[0-9]{1,5})?|[a-zA-Z0-9._-]{1,8}:[a-z0-9.]{1,8}"
    ) {
        if let Ok(touched) = parse(&name, "") {
            let again = match &touched.target {
                Target::Backend { pool, id } => format!("{pool}:{id}"),
                Target::Address(address) => address.clone(),
            };
            prop_assert_eq!(parse(&again, ""), Ok(touched));
        }
    }

    #[test]
    fn no_name_and_no_content_makes_it_panic_or_gives_more_than_a_line(
        name in ".{0,80}", content in "(none|[0-9]{1,3}[smhd])?\\PC{0,600}.{0,40}"
    ) {
        for name in [name.as_str(), "shop:a"] {
            if let Ok(Touched { reason: Some(reason), .. }) = parse(name, &content) {
                prop_assert!(!reason.is_empty() && reason.chars().count() <= MOST_REASON);
                prop_assert!(!reason.contains(char::is_control));
            }
        }
    }

    #[test]
    fn deadline_and_reason_are_read_as_written(
        seconds in 1_u64..1_000_000, reason in "[a-z]{1,8}( [a-z0-9]{1,8}){0,5}"
    ) {
        let touched = parse("10.0.0.1:80", &format!("{seconds}s {reason}\n")).unwrap();
        prop_assert_eq!(touched.deadline, Some(Some(Duration::from_secs(seconds))));
        prop_assert_eq!(touched.reason, Some(reason));
    }
}
