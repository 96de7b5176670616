//! Listeners: addresses, TLS, protocols, limits and waits.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use super::Object;
use super::check::Check;
use super::error_page::error_pages;
use super::section::socket;
use crate::config::defaults as d;
use crate::config::model::{
    CertificateFiles, ClientAuth, Listener, ListenerLimits, ListenerTimeouts, ListenerTls, Located,
    Place, Protocols, ProxyProtocol, TlsVersion, UnknownName,
};
use crate::config::text::{
    At, ClientAuthWord, List, ListenerLimitsText, ListenerText, ListenerTimeoutsText,
    ListenerTlsText, ProtocolWord, ProxyProtocolWord, TlsVersionWord, UnknownNameWord,
};

pub(super) fn listeners(
    objects: &[Object<ListenerText>],
    metrics: Option<&Located<SocketAddr>>,
    check: &mut Check<'_>,
) -> Vec<Listener> {
    if objects.is_empty() {
        check
            .error("there is no listener", &Place::default())
            .hint("add one: [listeners.web] with bind = [\"127.0.0.1:8080\"]");
    }
    if let Some(extra) = objects.get(d::MAX_LISTENERS) {
        check.error(format!("more than {} listeners", d::MAX_LISTENERS), &extra.place);
    }
    let mut taken = HashMap::new();
    if let Some(bind) = metrics {
        taken.insert(bind.value, bind.place.clone());
    }
    objects.iter().map(|object| listener(object, &mut taken, check)).collect()
}

fn listener(
    object: &Object<ListenerText>,
    taken: &mut HashMap<SocketAddr, Place>,
    check: &mut Check<'_>,
) -> Listener {
    let text = &object.text;
    check.name("listener", &object.name, &object.place);
    let tls = text.tls.as_ref().map(|at| tls(at, object.broken, check));
    Listener {
        name: Located { value: object.name.as_str().into(), place: object.place.clone() },
        bind: bind(object, taken, check),
        protocols: protocols(object, check),
        redirect_https: redirect(text.redirect_https.as_ref(), text.tls.is_some(), check),
        tls,
        error_pages: error_pages(&text.error_pages, check),
        trusted_proxies: networks(text.trusted_proxies.as_ref(), check),
        proxy_protocol: proxy_protocol(text, check),
        limits: limits(&text.limits, check),
        timeouts: timeouts(&text.timeouts, check),
    }
}

fn bind(
    object: &Object<ListenerText>,
    taken: &mut HashMap<SocketAddr, Place>,
    check: &mut Check<'_>,
) -> Vec<Located<SocketAddr>> {
    let list = object.text.bind.as_ref().map(|list| list.value.as_slice()).unwrap_or_default();
    if list.is_empty() {
        let message = format!("listener \"{}\" has no address", object.name);
        check.missing(object, &message, "add bind = [\"0.0.0.0:80\", \"[::]:80\"]");
    }
    let mut addresses = Vec::new();
    for at in list {
        let Some(value) = socket(&at.value, &at.place(), check) else { continue };
        let place = at.place();
        // Port 0 asks for any free port, each time another.
        match taken.get(&value).filter(|_| value.port() != 0) {
            Some(first) => {
                let of = if first.span.is_empty() { " ([metrics] bind)" } else { "" };
                check
                    .error(format!("{value} is bound already{of}"), &place)
                    .also(first, "here")
                    .hint("each address can be bound once");
            }
            None => {
                taken.insert(value, place.clone());
            }
        }
        addresses.push(Located { value, place });
    }
    addresses
}

fn protocols(object: &Object<ListenerText>, check: &mut Check<'_>) -> Protocols {
    let tls = object.text.tls.is_some();
    let Some(list) = &object.text.protocols else { return Protocols { http1: true, http2: tls } };
    let find = |word| list.value.iter().find(|at| at.value == word);
    let (http1, h2, h2c) =
        (find(ProtocolWord::Http1), find(ProtocolWord::H2), find(ProtocolWord::H2c));
    if let Some(at) = h2.filter(|_| !tls) {
        check.error("h2 needs TLS, and this listener has none", &at.place()).hint(
            "add tls.certificates, or write \"h2c\" for clients that speak HTTP/2 without TLS",
        );
    } else if let Some(at) = h2c.filter(|_| tls) {
        check
            .error("h2c is HTTP/2 without TLS, and this listener has TLS", &at.place())
            .hint("write \"h2\"");
    } else if list.value.is_empty() && !object.broken {
        check
            .error("protocols is empty: nobody could speak here", &list.place())
            .hint("leave it out, or list \"h2\" and \"http/1.1\"");
    }
    Protocols { http1: http1.is_some(), http2: h2.is_some() || h2c.is_some() }
}

fn redirect(port: Option<&At<i64>>, tls: bool, check: &mut Check<'_>) -> Option<u16> {
    let at = port?;
    if tls {
        check
            .error("redirect_https on a listener with TLS would lead to itself", &at.place())
            .hint("put it on the listener without TLS, as port 80");
    }
    Some(check.number("redirect_https", Some(at), 1..=65_535, 443))
}

fn tls(at: &At<ListenerTlsText>, broken: bool, check: &mut Check<'_>) -> ListenerTls {
    const EXAMPLE: &str = "certificates = [{ cert = \"site.crt\", key = \"site.key\" }]";
    let text = &at.value;
    let listed = text.certificates.as_ref().map(|list| list.value.as_slice()).unwrap_or_default();
    if listed.is_empty() && !broken {
        let place = text.certificates.as_ref().map_or_else(|| at.place(), At::place);
        check.error("TLS without a certificate", &place).hint(EXAMPLE);
    }
    let mut certificates = Vec::new();
    for entry in listed {
        let (cert, key) = (entry.value.cert.as_ref(), entry.value.key.as_ref());
        for (name, missing) in [("cert", cert.is_none()), ("key", key.is_none())] {
            if missing && !broken {
                check
                    .error(format!("a certificate without `{name}`"), &entry.place())
                    .hint(EXAMPLE);
            }
        }
        if let (Some(cert), Some(key)) = (cert, key) {
            let (cert, key) = (check.path("cert", cert), check.path("key", key));
            certificates.push(CertificateFiles { cert, key });
        }
    }
    no_tickets(text, check);
    ListenerTls {
        certificates,
        unknown_name: match text.unknown_name.as_ref().map(|at| at.value) {
            Some(UnknownNameWord::Reject) => UnknownName::Reject,
            Some(UnknownNameWord::Default) | None => UnknownName::Default,
        },
        min_version: match text.min_version.as_ref().map(|at| at.value) {
            Some(TlsVersionWord::V13) => TlsVersion::V13,
            Some(TlsVersionWord::V12) | None => TlsVersion::V12,
        },
        ticket_keys: text
            .ticket_keys
            .as_ref()
            .map(|list| check.ticket_keys(list))
            .unwrap_or_default(),
        client_auth: client_auth(text, broken, check),
    }
}

/// A resumed session shows no certificate, so there is none where clients are asked for one.
fn no_tickets(text: &ListenerTlsText, check: &mut Check<'_>) {
    let asks = |at: &&At<ClientAuthWord>| at.value != ClientAuthWord::None;
    if let (Some(keys), Some(_)) = (&text.ticket_keys, text.client_auth.as_ref().filter(asks)) {
        check
            .warning("ticket_keys, and this listener gives no tickets", &keys.place())
            .hint("with client_auth each connection shows its certificate; leave them out");
    }
}

fn client_auth(text: &ListenerTlsText, broken: bool, check: &mut Check<'_>) -> Option<ClientAuth> {
    let header = text.client_cert_header.as_ref().filter(|at| at.value);
    let Some(auth) = &text.client_auth else {
        // Who says "none" may leave the rest where it is, or have it from the defaults.
        let ca = text.client_ca.as_ref().map(|at| ("client_ca", at.place()));
        let crl = text.crl.as_ref().filter(|list| !list.value.is_empty());
        let crl = crl.map(|list| ("crl", list.place()));
        let header = header.map(|at| ("client_cert_header", at.place()));
        for (key, place) in [ca, crl, header].into_iter().flatten().filter(|_| !broken) {
            check
                .error(format!("{key}, and no client is asked for a certificate"), &place)
                .hint("add client_auth = \"require\", or \"request\"");
        }
        return None;
    };
    let required = match auth.value {
        ClientAuthWord::None => return None,
        ClientAuthWord::Request => false,
        ClientAuthWord::Require => true,
    };
    let Some(ca) = &text.client_ca else {
        if !broken {
            let message = "client_auth, and nobody whose certificates are believed";
            check.error(message, &auth.place()).hint(
                "name a file with the certificates of those who issue the clients': \
                 client_ca = \"clients-ca.pem\"",
            );
        }
        return None;
    };
    let ca = check.path("client_ca", ca);
    let files = text.crl.iter().flat_map(|list| &list.value);
    let crl = files.map(|at| check.path("crl", at)).collect();
    Some(ClientAuth { required, ca, crl, header: header.is_some() })
}

/// Networks, or addresses by themselves.
pub(super) fn networks(list: Option<&List<String>>, check: &mut Check<'_>) -> Vec<IpNet> {
    let mut networks = Vec::new();
    for at in list.iter().flat_map(|list| &list.value) {
        let single = || at.value.parse::<IpAddr>().ok().map(IpNet::from);
        match at.value.parse::<IpNet>().ok().or_else(single) {
            Some(network) => networks.push(network.trunc()),
            None => {
                check.error(format!("`{}` is no network", at.value), &at.place()).hint(
                    "an address, or an address and a prefix length: \"10.0.0.0/8\", \"fd00::/8\"",
                );
            }
        }
    }
    networks
}

fn proxy_protocol(text: &ListenerText, check: &mut Check<'_>) -> ProxyProtocol {
    let Some(at) = &text.proxy_protocol else { return ProxyProtocol::Off };
    let model = match at.value {
        ProxyProtocolWord::Off => return ProxyProtocol::Off,
        ProxyProtocolWord::Optional => ProxyProtocol::Optional,
        ProxyProtocolWord::Require => ProxyProtocol::Require,
    };
    if text.trusted_proxies.as_ref().is_none_or(|list| list.value.is_empty()) {
        check
            .error("proxy_protocol, and nobody whose PROXY header is believed", &at.place())
            .hint("name the proxies before it: trusted_proxies = [\"10.0.0.1\"]");
    }
    model
}

fn limits(text: &ListenerLimitsText, check: &mut Check<'_>) -> ListenerLimits {
    let header_size = check.bytes(
        "header_size",
        text.header_size.as_ref(),
        d::MIN_HEADER_SIZE..=d::MAX_HEADER_SIZE,
        d::HEADER_SIZE,
    );
    let (headers, clients) = (text.headers.as_ref(), text.connections_per_client.as_ref());
    let many = 1..=i64::from(u32::MAX);
    ListenerLimits {
        header_size: usize::try_from(header_size).unwrap_or(usize::MAX),
        headers: check.number("headers", headers, 1..=d::MAX_HEADERS, d::HEADERS),
        body_size: text.body_size.as_ref().and_then(|at| at.value.0),
        connections_per_client: check.number(
            "connections_per_client",
            clients,
            many,
            d::CONNECTIONS_PER_CLIENT,
        ),
    }
}

fn timeouts(text: &ListenerTimeoutsText, check: &mut Check<'_>) -> ListenerTimeouts {
    let mut wait =
        |key, value: &Option<At<_>>, default| check.wait(key, value.as_ref(), Some(default));
    ListenerTimeouts {
        tls: wait("tls", &text.tls, d::TLS_TIMEOUT),
        header: wait("header", &text.header, d::HEADER_TIMEOUT),
        idle: wait("idle", &text.idle, d::IDLE_TIMEOUT),
        body: wait("body", &text.body, d::BODY_TIMEOUT),
        write: wait("write", &text.write, d::WRITE_TIMEOUT),
        tunnel: wait("tunnel", &text.tunnel, d::TUNNEL_TIMEOUT),
    }
}
