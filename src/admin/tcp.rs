//! The API over TCP: its address, its TLS, and who connects.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::either::Either;

use super::facts::{Facts, lock};
use super::server::Listen;
use crate::config::Loaded;
use crate::config::model::{Admin, AdminTls};
use crate::tls::certificate;
use crate::tls::server::{self, Offer, Resumption};
use crate::tls::store::{CertificateStore, Table};

/// A TLS handshake must be complete by then.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// The address of `[admin] bind`, listened on.
pub struct Tcp {
    listener: std::net::TcpListener,
    tls: Option<Tls>,
}

/// The certificate and what is made of it.
struct Tls {
    store: Arc<CertificateStore>,
    acceptor: TlsAcceptor,
}

impl Tcp {
    /// Listens where the file says; `None` where it says nothing. Whether connections are
    /// encrypted holds for the life of the process; the certificate is read again at a reload.
    ///
    /// # Errors
    /// Where the address is taken, or the certificate cannot be used.
    pub fn bind(admin: &Admin) -> Result<Option<Self>, String> {
        let Some(bind) = &admin.bind else { return Ok(None) };
        let address = bind.value;
        let listen = || {
            let listener = std::net::TcpListener::bind(address)?;
            listener.set_nonblocking(true)?;
            Ok(listener)
        };
        let listener = listen().map_err(|error: io::Error| {
            format!("admin cannot be served on {address}: {error}; choose another [admin] bind")
        })?;
        let tls = admin.tls.as_ref().map(Tls::new).transpose()?;
        Ok(Some(Self { listener, tls }))
    }

    /// Where it is reached, with what port 0 became.
    pub fn address(&self) -> Option<SocketAddr> {
        self.listener.local_addr().ok()
    }

    /// For the runtime that serves it.
    pub(super) fn into_door(self, facts: Arc<Facts>) -> io::Result<Door> {
        let seen = Mutex::new(Arc::downgrade(&facts.loaded()));
        let listener = TcpListener::from_std(self.listener)?;
        Ok(Door { listener, tls: self.tls, facts, seen })
    }
}

impl Tls {
    fn new(files: &AdminTls) -> Result<Self, String> {
        let store = Arc::new(CertificateStore::new(table(files)?));
        let text = |error: rustls::Error| format!("admin.tls: {error}");
        let resumption = Resumption::new().map_err(text)?;
        let offer = Offer { tls12: true, http1: true, http2: false };
        let config = server::config(&store, &resumption, offer, None).map_err(text)?;
        Ok(Self { store, acceptor: TlsAcceptor::from(Arc::new(config)) })
    }
}

fn table(files: &AdminTls) -> Result<Table, String> {
    let loaded = certificate::load(&files.cert.value, &files.key.value);
    let certificate = loaded.map_err(|unusable| {
        let problems: Vec<String> = unusable.into_iter().map(|one| one.problem).collect();
        format!("admin.tls: {}", problems.join("; "))
    })?;
    Ok(Table::new(vec![certificate], false))
}

/// The socket as it is accepted on.
pub(super) struct Door {
    listener: TcpListener,
    tls: Option<Tls>,
    facts: Arc<Facts>,
    /// The configuration whose certificate is in force.
    seen: Mutex<Weak<Loaded>>,
}

impl Door {
    /// Reads the certificate again after a reload. One that cannot be used leaves the old one in
    /// force: an operator who is locked out cannot mend it.
    fn renew(&self, tls: &Tls) {
        let loaded = self.facts.loaded();
        let mut seen = lock(&self.seen);
        if Weak::as_ptr(&seen) == Arc::as_ptr(&loaded) {
            return;
        }
        *seen = Arc::downgrade(&loaded);
        match loaded.model.admin.tls.as_ref().map(table) {
            Some(Ok(table)) => tls.store.publish(Arc::new(table)),
            Some(Err(error)) => tracing::error!(%error, "the old certificate stays in force"),
            None => {}
        }
    }
}

impl Listen for Door {
    type Stream = Either<TcpStream, TlsStream<TcpStream>>;
    type Peer = IpAddr;
    type Opening = Pin<Box<dyn Future<Output = io::Result<(Self::Stream, IpAddr)>> + Send>>;

    async fn next(&self) -> io::Result<Self::Opening> {
        let (stream, peer) = self.listener.accept().await?;
        let acceptor = self.tls.as_ref().map(|tls| {
            self.renew(tls);
            tls.acceptor.clone()
        });
        Ok(Box::pin(async move {
            let stream = match acceptor {
                None => Either::Left(stream),
                Some(acceptor) => {
                    let handshake = acceptor.accept(stream);
                    Either::Right(tokio::time::timeout(HANDSHAKE_TIMEOUT, handshake).await??)
                }
            };
            Ok((stream, peer.ip()))
        }))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::OpenOptionsExt as _;
    use std::path::Path;

    use rcgen::{CertificateParams, KeyPair};
    use rustls::pki_types::pem::PemObject as _;
    use rustls::pki_types::{CertificateDer, ServerName};
    use tokio_rustls::TlsConnector;
    use tokio_util::sync::CancellationToken;

    use super::super::tests::{change_admin, exchange, facts, serve, token};
    use super::*;
    use crate::config::model::{Located, PoolTls, Role};
    use crate::tls::client::ClientTls;

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
    }

    #[test]
    fn each_role_does_what_it_may_and_tokens_are_those_of_the_last_reload() {
        runtime().block_on(async {
            let facts = Arc::new(facts());
            let roles = [("eyes", Role::Read), ("hands", Role::Operate), ("head", Role::Admin)];
            change_admin(&facts, |admin| {
                admin.tokens = roles.iter().map(|(name, role)| token(name, *role)).collect();
            });
            let closing = CancellationToken::new();
            let address = serve(&facts, &closing);
            let ask = async |who: &str, page: &str, more: &str| {
                let stream = TcpStream::connect(address).await.unwrap();
                let fields = format!("Authorization: Bearer the secret of {who}\r\n{more}");
                exchange(stream, page, &fields, r#"{"state": "drain"}"#).await
            };
            let mark = "PATCH pools/shop/backends/a";
            for (who, page, status) in [
                ("nobody", "GET status", 401),
                ("eyes", "GET status", 200),
                ("eyes", "HEAD sessions", 200),
                ("eyes", mark, 403),
                ("hands", mark, 200),
                ("hands", "POST reload", 403),
                ("head", "POST reload", 200),
                ("head", "POST explain", 403),
                ("head", "POST token", 403),
            ] {
                assert_eq!(ask(who, page, "").await.0, status, "{who} {page}");
            }
            let (_, head, _) = ask("nobody", "GET status", "").await;
            assert!(head.to_ascii_lowercase().contains("www-authenticate: bearer"), "{head}");
            let (_, _, page) = ask("eyes", mark, "").await;
            assert_eq!(page["title"], "this needs a token with the role operate");
            let (_, _, page) = ask("hands", mark, "").await;
            assert_eq!(page["who"], "token hands (127.0.0.1)");
            assert_eq!(ask("head", "GET status", "Origin: http://a.example\r\n").await.0, 403);
            change_admin(&facts, |admin| admin.tokens.retain(|token| &*token.name != "eyes"));
            assert_eq!(ask("eyes", "GET status", "").await.0, 401);
            assert_eq!(ask("hands", "GET status", "").await.0, 200);
            closing.cancel();
        });
    }

    /// Writes a certificate that vouches for itself.
    fn certify(folder: &Path) -> AdminTls {
        let (cert, key) = (folder.join("admin.crt"), folder.join("admin.key"));
        let pair = KeyPair::generate().unwrap();
        let names = vec!["127.0.0.1".to_owned()];
        let made = CertificateParams::new(names).unwrap().self_signed(&pair).unwrap();
        std::fs::write(&cert, made.pem()).unwrap();
        let mut options = std::fs::OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&key);
        io::Write::write_all(file.as_mut().unwrap(), pair.serialize_pem().as_bytes()).unwrap();
        AdminTls { cert: Located::nowhere(cert), key: Located::nowhere(key) }
    }

    #[test]
    fn connections_are_encrypted_and_a_reload_renews_the_certificate() {
        runtime().block_on(async {
            let folder = tempfile::tempdir().unwrap();
            let facts = Arc::new(facts());
            change_admin(&facts, |admin| {
                admin.tokens = vec![token("eyes", Role::Read)];
                admin.tls = Some(certify(folder.path()));
            });
            let closing = CancellationToken::new();
            let address = serve(&facts, &closing);
            let bundle = folder.path().join("admin.crt");
            let shaken = async || {
                let ca = Some(Located::nowhere(bundle.clone()));
                let tls = ClientTls::new(&PoolTls { server_name: None, ca, verify: true }, false)
                    .unwrap();
                let connector = TlsConnector::from(Arc::clone(tls.config()));
                let stream = TcpStream::connect(address).await.unwrap();
                connector.connect(ServerName::try_from("127.0.0.1").unwrap(), stream).await
            };
            let stream = shaken().await.unwrap();
            let fields = "Authorization: Bearer the secret of eyes\r\n";
            assert_eq!(exchange(stream, "GET status", fields, "").await.0, 200);
            certify(folder.path());
            assert!(shaken().await.is_err(), "the old one is in force until a reload");
            change_admin(&facts, |_| {});
            let stream = shaken().await.unwrap();
            let sent = stream.get_ref().1.peer_certificates().unwrap()[0].clone();
            assert_eq!(sent, CertificateDer::from_pem_file(&bundle).unwrap());
            std::fs::write(&bundle, "nothing").unwrap();
            change_admin(&facts, |_| {});
            assert!(TcpStream::connect(address).await.is_ok());
            closing.cancel();
        });
    }
}
