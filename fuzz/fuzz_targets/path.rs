//! Paths: the normal form is what a second, slower way comes to, and is its own; what is made of a
//! path in a redirect stays on its host.

#![no_main]

use std::borrow::Cow;

use libfuzzer_sys::fuzz_target;
use ostler::config::model::{Redirect, TemplatePiece};
use ostler::route::{RedirectPlan, normalise, parse_authority};

fuzz_target!(|input: &[u8]| {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let (host, path) = text.split_once('\n').unwrap_or(("a", text));
    let normal = normalise(path);
    assert_eq!(normal.as_deref().ok(), slowly(path).as_deref(), "{path:?}");
    if let Ok(normal) = &normal {
        let again = normalise(normal);
        assert!(matches!(&again, Ok(Cow::Borrowed(same)) if same == normal), "{path:?}");
        assert!(normal.split('/').all(|segment| segment != "." && segment != ".."));
        if normal == path {
            assert!(matches!(normal, Cow::Borrowed(_)), "{path:?} is normal and was copied");
        }
    }
    redirects(host, path);
});

/// RFC 3986 §6.2.2 by units: an escape is one, and so is every other character.
fn slowly(path: &str) -> Option<String> {
    let mut units: Vec<String> = Vec::new();
    let mut rest = path.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digits = [char::from(rest.next()?), char::from(rest.next()?)];
            let value = digits.iter().try_fold(0, |sum, it| Some(sum * 16 + it.to_digit(16)?))?;
            let character = char::from_u32(value).filter(char::is_ascii);
            match character {
                Some('\0') => return None,
                Some(it) if it.is_ascii_alphanumeric() || "-._~".contains(it) => {
                    units.push(it.to_string());
                }
                _ => units.push(format!("%{value:02X}")),
            }
        } else if byte.is_ascii_graphic() && byte != b'?' && byte != b'#' {
            units.push(char::from(byte).to_string());
        } else {
            return None;
        }
    }
    if units.first()? != "/" {
        return None;
    }
    let mut stack: Vec<String> = Vec::new();
    let mut folder = false;
    for segment in units[1..].split(|unit| unit == "/") {
        let segment = segment.concat();
        folder = segment == "." || segment == "..";
        match &*segment {
            "." => {}
            ".." => drop(stack.pop()?),
            _ => stack.push(segment),
        }
    }
    if folder {
        stack.push(String::new());
    }
    Some(format!("/{}", stack.join("/")))
}

fn redirects(host: &str, path: &str) {
    use TemplatePiece::{Host, Literal, Path, Scheme};
    let literal = |text: &str| Literal(text.to_owned());
    let templates = [
        vec![Path],
        vec![literal("https://"), Host, Path],
        vec![Scheme, literal("://"), Host, literal(":8443"), Path],
        vec![literal("https://new.example/x?from="), Path],
        vec![literal("/old"), Path],
    ];
    for to in templates {
        let plan = RedirectPlan::new(&Redirect { to: to.clone(), status: 308 }).expect("a plan");
        let location = plan.location("https", host, path);
        assert!(location.bytes().all(|byte| byte.is_ascii_graphic()), "{location:?}");
        if to == [Path] || to.first() == Some(&literal("/old")) {
            assert!(location.starts_with('/'), "{location:?}");
            assert!(!location.starts_with("//") && !location.starts_with("/\\"), "{location:?}");
        }
        if to.contains(&Host) && parse_authority(host).is_ok_and(|it| it.port.is_none()) {
            let rest = location.strip_prefix("https://").expect("the scheme");
            let end = rest.find(['/', '?', '#', '\\']).unwrap_or(rest.len());
            let authority = rest[..end].strip_suffix(":8443").unwrap_or(&rest[..end]);
            assert_eq!(authority, host, "{location:?}");
        }
    }
}
