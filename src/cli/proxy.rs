//! `ostler proxy`: my application behind sessions and checks, without a file.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;

use crate::admin::{self, facts::Facts};
use crate::app::{self, Source, Start};
use crate::demo::ports;

use super::args;
use super::fail::Fail;
use super::out;

/// Serves the applications at these addresses, or prints the file that would.
///
/// # Errors
/// What keeps it from serving.
pub(super) fn proxy(proxy: &args::Proxy, socket: Option<PathBuf>) -> Result<ExitCode, Fail> {
    let origins: Vec<Origin> =
        proxy.addresses.iter().map(|text| origin(text)).collect::<Result<_, _>>()?;
    if proxy.print {
        out::print(&text(&origins, proxy.listen, None)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let metrics = ports::free(crate::config::defaults::METRICS_BIND, &[proxy.listen])?;
    let text = text(&origins, proxy.listen, Some(metrics))?;
    let source = Source::Text { path: PathBuf::from("(ostler proxy)"), text };
    let told: Vec<String> = proxy.addresses.clone();
    let ready = move |facts: &Facts| {
        for bound in facts.bound() {
            out::note(&format!("http://{} -> {}", bound.address, told.join(", ")));
        }
        if let Some(metrics) = facts.metrics_bound {
            out::note(&format!("http://{metrics}/metrics"));
        }
    };
    let socket =
        socket.or_else(admin::socket::of_environment).or_else(admin::socket::beside_a_running_one);
    Ok(app::serve(Start { source, socket, ready: Some(Box::new(ready)) })?)
}

/// Where an application listens.
#[derive(Debug, PartialEq, Eq)]
struct Origin {
    address: String,
    tls: bool,
}

/// `3000`, `:3000`, `host:3000`, `http://host`, `https://host:3000`.
fn origin(text: &str) -> Result<Origin, Fail> {
    let wrong = |what: &str| {
        Fail::Usage(format!("`{text}` {what}: write 3000, :3000, host:3000 or http://host:3000"))
    };
    let (rest, tls, default) = match text.split_once("://") {
        None => (text, false, None),
        Some(("http", rest)) => (rest, false, Some(80)),
        Some(("https", rest)) => (rest, true, Some(443)),
        Some(_) => return Err(wrong("is neither http nor https")),
    };
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    if rest.contains(['/', '?', '#', '@']) {
        return Err(wrong("names more than an address"));
    }
    let bare = rest.strip_prefix(':').unwrap_or(rest);
    let (host, port) = match bare.parse::<u16>() {
        Ok(port) => ("127.0.0.1", Some(port)),
        Err(_) => match rest.rsplit_once(':') {
            Some((host, port)) if !host.ends_with(':') && !port.ends_with(']') => {
                (host, Some(port.parse().map_err(|_| wrong("has no port"))?))
            }
            _ => (rest, default),
        },
    };
    let port = port.filter(|port| *port != 0).ok_or_else(|| wrong("has no port"))?;
    let address = match host.trim_matches(['[', ']']).parse::<IpAddr>() {
        Ok(ip) => SocketAddr::new(ip, port).to_string(),
        Err(_) if is_name(host) => format!("{host}:{port}"),
        Err(_) => return Err(wrong("is no address")),
    };
    Ok(Origin { address, tls })
}

fn is_name(host: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    !host.is_empty() && host.bytes().all(fits)
}

/// The file that does it. Ids keep visitors on their backend when addresses change.
fn text(
    origins: &[Origin],
    listen: SocketAddr,
    metrics: Option<SocketAddr>,
) -> Result<String, Fail> {
    let tls = origins.iter().filter(|origin| origin.tls).count();
    if tls != 0 && tls != origins.len() {
        let text = "all addresses must be http, or all https: backends of one pool speak the same";
        return Err(Fail::Usage(text.to_owned()));
    }
    let metrics = metrics.map_or_else(String::new, |at| format!("[metrics]\nbind = \"{at}\"\n\n"));
    let backends: Vec<String> = (1..)
        .zip(origins)
        .map(|(number, origin)| {
            format!("  {{ id = \"app{number}\", address = \"{}\" }},\n", origin.address)
        })
        .collect();
    let backends = backends.concat();
    let tls = if tls == 0 { "" } else { "tls = {}\n" };
    Ok(format!(
        "# Sessions and checks for an application; start it with `ostler run -c FILE`.\n\
         {metrics}[listeners.web]\nbind = [\"{listen}\"]\n\n\
         [[routes]]\npool = \"app\"\n\n\
         [pools.app]\nbackends = [\n{backends}]\n{tls}\
         health.tcp = true\nsticky.by = \"cookie\"\n"
    ))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::config::{self, FixedEnvironment};

    use super::*;

    #[test]
    fn an_application_is_named_in_the_ways_people_write_it() {
        for (written, address, tls) in [
            ("3000", "127.0.0.1:3000", false),
            (":3000", "127.0.0.1:3000", false),
            ("localhost:3000", "localhost:3000", false),
            ("10.0.0.7:80", "10.0.0.7:80", false),
            ("[::1]:3000", "[::1]:3000", false),
            ("http://app.internal", "app.internal:80", false),
            ("http://app.internal:8080/", "app.internal:8080", false),
            ("https://[::1]", "[::1]:443", true),
            ("https://:8443", "127.0.0.1:8443", true),
        ] {
            let expected = Origin { address: address.to_owned(), tls };
            assert_eq!(origin(written).unwrap(), expected, "{written}");
        }
        for wrong in [
            "",
            "host",
            "host:",
            "host:0",
            "host:99999",
            "ftp://host",
            "http://host/path",
            "a b:1",
            "::1",
            "http://me@host",
        ] {
            assert_eq!(origin(wrong).unwrap_err().code(), 2, "{wrong}");
        }
    }

    #[test]
    fn what_is_printed_is_a_file_without_mistakes_or_warnings() {
        for (addresses, metrics) in [
            (vec!["3000"], None),
            (vec!["a.internal:1", "[::1]:2"], Some(([127, 0, 0, 1], 9901).into())),
            (vec!["https://a.internal"], None),
        ] {
            let origins: Vec<_> = addresses.iter().map(|text| origin(text).unwrap()).collect();
            let text = text(&origins, ([127, 0, 0, 1], 8080).into(), metrics).unwrap();
            let loaded =
                config::parse(&text, Path::new("/x/ostler.toml"), &FixedEnvironment::default());
            let loaded = loaded.unwrap_or_else(|report| panic!("{report}"));
            assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
            assert!(loaded.model.pools[0].sticky.is_some());
        }
    }

    #[test]
    fn one_pool_speaks_one_way_to_its_backends() {
        let origins = [origin("3000").unwrap(), origin("https://a").unwrap()];
        assert_eq!(text(&origins, ([127, 0, 0, 1], 1).into(), None).unwrap_err().code(), 2);
    }
}
