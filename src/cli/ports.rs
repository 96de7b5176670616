//! Whether the listeners of a file, metrics and the API over TCP could be opened now.

use std::collections::HashSet;
use std::io;
use std::net::SocketAddr;

use socket2::{Domain, Protocol, Socket, Type};

use crate::config::model::Located;
use crate::config::{Model, Report};
use crate::tls::certificate;

/// What is known of a process that runs already.
#[derive(Debug)]
pub(super) enum Running {
    /// Nobody answers.
    Nobody,
    /// It accepts on these, and a reload would keep them.
    Owns(HashSet<SocketAddr>),
    /// There is one, but it does not talk to us.
    Silent,
}

/// Opens every address for a moment. One that is taken is a mistake, unless the running process
/// has it; where this user may not try, or cannot know whose it is, that is a warning.
pub(super) fn try_all(model: &Model, running: &Running, report: &mut Report) {
    for listener in &model.listeners {
        let name = format!("listener {}", listener.name.value);
        for address in &listener.bind {
            try_one(&name, address, running, report);
        }
    }
    if let Some(address) = &model.metrics.bind {
        try_one("metrics", address, running, report);
    }
    if let Some(address) = &model.admin.bind {
        try_one("the API over TCP", address, running, report);
    }
    if let Some(tls) = &model.admin.tls
        && let Err(all) = certificate::load(&tls.cert.value, &tls.key.value)
    {
        for unusable in all {
            let file = if unusable.of_key { &tls.key } else { &tls.cert };
            report.error(unusable.problem, &file.place);
        }
    }
}

fn try_one(name: &str, address: &Located<SocketAddr>, running: &Running, report: &mut Report) {
    let kept = matches!(running, Running::Owns(own) if own.contains(&address.value));
    if kept || address.value.port() == 0 {
        return;
    }
    let Err(error) = open(address.value) else { return };
    let message = format!("{name} cannot accept on {}: {error}", address.value);
    let may_be_ours =
        error.kind() == io::ErrorKind::AddrInUse && matches!(running, Running::Silent);
    if error.kind() == io::ErrorKind::PermissionDenied {
        report
            .warning(message, &address.place)
            .hint("ports below 1024 are for root or CAP_NET_BIND_SERVICE");
    } else if may_be_ours {
        report
            .warning(message, &address.place)
            .hint("a process that does not answer this user may be the one that has it");
    } else {
        report.error(message, &address.place).hint(hint(&error, address.value.port()));
    }
}

fn hint(error: &io::Error, port: u16) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            format!("another process has it (`ss -ltnp 'sport = :{port}'` names it)")
        }
        io::ErrorKind::AddrNotAvailable => "no interface of this machine has it".to_owned(),
        _ => "choose another address".to_owned(),
    }
}

/// As the server would: `[::]` without IPv4, and never beside another socket.
fn open(address: SocketAddr) -> io::Result<()> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // Connections of an earlier process that wait out their time do not count.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::path::{Path, PathBuf};

    use crate::config::model::AdminTls;
    use crate::config::{self, FixedEnvironment};

    use super::*;

    fn mistakes(address: SocketAddr, running: &Running) -> Report {
        let text = format!(
            "[metrics]\nbind = \"none\"\n[listeners.web]\nbind = [\"{address}\"]\n\
             [[routes]]\nrespond = {{ status = 200, body = \"ok\" }}\n"
        );
        let environment = FixedEnvironment::default();
        let loaded = config::parse(&text, Path::new("ostler.toml"), &environment).unwrap();
        let mut report = loaded.report();
        try_all(&loaded.model, running, &mut report);
        report
    }

    #[test]
    fn a_port_that_somebody_else_has_is_a_mistake_with_its_place() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let report = mistakes(address, &Running::Nobody);
        assert!(report.has_errors());
        assert!(report.render(false).contains("ostler.toml:4:9"), "{report}");
        assert!(!mistakes(address, &Running::Owns(HashSet::from([address]))).has_errors());
        let silent = mistakes(address, &Running::Silent);
        assert!(!silent.has_errors() && !silent.mistakes.is_empty());
    }

    #[test]
    fn metrics_and_the_address_and_the_certificate_of_the_api_are_tried_too() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let environment = FixedEnvironment::default();
        let text = "[[routes]]\nrespond = { status = 200, body = \"ok\" }\n\
                    [listeners.web]\nbind = [\"127.0.0.1:0\"]\n";
        let mut loaded = config::parse(text, Path::new("ostler.toml"), &environment).unwrap();
        let nowhere = |name: &str| Located::nowhere(PathBuf::from(name));
        let metrics = TcpListener::bind("127.0.0.1:0").unwrap();
        loaded.model.metrics.bind = Some(Located::nowhere(metrics.local_addr().unwrap()));
        let admin = &mut loaded.model.admin;
        admin.bind = Some(Located::nowhere(taken.local_addr().unwrap()));
        admin.tls = Some(AdminTls { cert: nowhere("/nowhere/a"), key: nowhere("/nowhere/b") });
        let mut report = loaded.report();
        try_all(&loaded.model, &Running::Nobody, &mut report);
        let text = report.render(false);
        assert!(text.contains("metrics cannot accept"), "{text}");
        assert!(text.contains("the API over TCP cannot accept"), "{text}");
        assert!(text.contains("cannot read the certificate /nowhere/a"), "{text}");
        assert!(text.contains("cannot read the key /nowhere/b"), "{text}");
    }

    #[test]
    fn an_address_of_no_interface_is_a_mistake() {
        let report = mistakes(([192, 0, 2, 1], 8080).into(), &Running::Nobody);
        assert!(report.render(false).contains("no interface"), "{report}");
    }
}
