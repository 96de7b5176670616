//! Backends that DNS tells: the name that is asked, and what may stand beside it.

use std::sync::Arc;

use super::check::Check;
use super::host::{Wrong, address, is_dns_name};
use crate::config::defaults as d;
use crate::config::model::{Address, AddressHost, Discover};
use crate::config::text::BackendText;

/// An address with `discover`: `app.internal:8080`, or the name of SRV records.
pub(super) fn discovered(text: &str, discover: Discover) -> Result<Address, Wrong> {
    match discover {
        Discover::Dns if text.starts_with('_') => Err((
            format!("`{text}` is a name of SRV records"),
            "write discover = \"srv\", and the name without a port: the records have it",
        )),
        Discover::Dns => {
            let address = address(text)?;
            match address.host {
                AddressHost::Name(_) => Ok(address),
                AddressHost::Ip(_) => Err((
                    format!("`{text}` is no name that could be looked up"),
                    "leave `discover` out: an address is one backend",
                )),
            }
        }
        Discover::Srv => {
            let lower = text.to_ascii_lowercase();
            let name = lower.strip_suffix('.').unwrap_or(&lower);
            if is_dns_name(name) {
                return Ok(Address { host: AddressHost::Name(Arc::from(name)), port: 0 });
            }
            let hint = if name.contains(':') {
                "the name alone: its records have the ports"
            } else {
                "a name, as in `_http._tcp.app.internal`"
            };
            Err((format!("`{text}` is no name of SRV records"), hint))
        }
    }
}

/// What else the file says of a backend that stands for several.
pub(super) fn beside(text: &BackendText, check: &mut Check<'_>) {
    let Some(discover) = &text.discover else { return };
    if let Some(id) = &text.id
        && id.value.len() > d::MAX_ID_PREFIX
    {
        let message =
            format!("beside `discover` an `id` has at most {} characters", d::MAX_ID_PREFIX);
        check
            .error(message, &id.place())
            .hint("each backend is called by it and its address: `app-10.0.0.1-8080`");
    }
    if let Some(weight) = &text.weight
        && discover.value == Discover::Srv
    {
        check
            .error("a `weight` beside discover = \"srv\"", &weight.place())
            .hint("leave it out: each record has its own");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_looked_up_is_a_name_and_srv_records_have_the_port() {
        let dns = |text| discovered(text, Discover::Dns).map(|address| address.to_string());
        let srv = |text| discovered(text, Discover::Srv).map(|address| address.to_string());
        assert_eq!(dns("App.internal:8080").unwrap(), "app.internal:8080");
        assert_eq!(srv("_http._tcp.App.internal.").unwrap(), "_http._tcp.app.internal");
        assert_eq!(srv("web.service.consul").unwrap(), "web.service.consul");
        assert!(dns("10.0.0.1:80").unwrap_err().1.contains("one backend"));
        assert!(dns("_http._tcp.app.internal:80").unwrap_err().1.contains("srv"));
        assert!(dns("app.internal").unwrap_err().1.contains("port"));
        assert!(srv("app.internal:80").unwrap_err().1.contains("ports"));
        assert!(srv("a b").is_err());
    }
}
