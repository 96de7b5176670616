//! Who may do what over TCP: tokens, roles, and what is for the socket alone.

use std::net::IpAddr;

use http::{HeaderMap, HeaderValue, Method, header};

use super::answer::refusal;
use crate::config::model::{AdminToken, Role};
use crate::event::{Actor, Refusal};

/// Who asks.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    /// As it stands in the audit log.
    pub(super) actor: Actor,
    /// What it may do.
    role: Role,
    /// Whether it came over the socket.
    local: bool,
}

impl Caller {
    /// Somebody on the socket, whom its mode lets in: they may do everything.
    pub(super) fn on_socket(actor: Actor) -> Self {
        Self { actor, role: Role::Admin, local: true }
    }

    /// Somebody over TCP, known by their token.
    ///
    /// # Errors
    /// Those who bring none of ours are unknown (401), pages of a browser are refused (403).
    pub(super) fn over_tcp(
        tokens: &[AdminToken],
        from: IpAddr,
        headers: &HeaderMap,
    ) -> Result<Self, Refusal> {
        if headers.contains_key(header::ORIGIN) {
            let text = "pages of a browser have no business here: leave out `Origin`";
            return Err(refusal(403, text));
        }
        let given = headers.get(header::AUTHORIZATION).and_then(bearer);
        // All are compared: how long it takes tells nothing of which was nearly right.
        let known = tokens.iter().fold(None, |known, token| {
            let matches = given.is_some_and(|given| token.secret.matches(given));
            if matches { Some(token) } else { known }
        });
        let Some(token) = known else { return Err(unknown(given.is_some())) };
        let actor = Actor(format!("token {} ({})", token.name, from.to_canonical()));
        Ok(Self { actor, role: token.role, local: false })
    }

    /// Whether it may use a method: read looks, operate also marks, admin does all.
    ///
    /// # Errors
    /// Names the role that is needed.
    pub(super) fn may(&self, method: &Method) -> Result<(), Refusal> {
        let (needed, word) = match *method {
            Method::GET | Method::HEAD => (Role::Read, "read"),
            Method::PATCH => (Role::Operate, "operate"),
            _ => (Role::Admin, "admin"),
        };
        if self.role >= needed {
            return Ok(());
        }
        let mut refused = refusal(403, format!("this needs a token with the role {word}"));
        refused.members.insert("role".to_owned(), word.into());
        Err(refused)
    }

    /// Whether it came over the socket: tokens of visitors are opened and made nowhere else.
    ///
    /// # Errors
    /// Says that it did not.
    pub(super) fn must_be_local(&self) -> Result<(), Refusal> {
        if self.local {
            Ok(())
        } else {
            Err(refusal(403, "this page answers over the socket only"))
        }
    }
}

/// The secret of `Authorization: Bearer SECRET` (RFC 6750 §2.1).
fn bearer(field: &HeaderValue) -> Option<&[u8]> {
    let (scheme, secret) = field.as_bytes().split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then(|| secret.trim_ascii())
}

fn unknown(given: bool) -> Refusal {
    let text = if given {
        "there is no such token"
    } else {
        "this needs a token: `Authorization: Bearer SECRET`"
    };
    refusal(401, text)
}

#[cfg(test)]
mod tests {
    use crate::config::model::{AdminSecret, Place};

    use super::*;

    fn caller(field: Option<&'static str>) -> Result<Caller, u16> {
        let token = |name: &str, role| AdminToken {
            name: name.into(),
            secret: AdminSecret::new(format!("the secret of {name}")),
            role,
            place: Place::default(),
        };
        let tokens = [token("eyes", Role::Read), token("hands", Role::Operate)];
        let mut headers = HeaderMap::new();
        if let Some(field) = field {
            headers.insert(header::AUTHORIZATION, HeaderValue::from_static(field));
        }
        let from = "::ffff:192.0.2.1".parse().unwrap();
        Caller::over_tcp(&tokens, from, &headers).map_err(|refused| refused.status)
    }

    #[test]
    fn a_token_gives_a_name_and_a_role_and_nothing_else_does() {
        for none in [
            None,
            Some("Bearer the secret of nobody"),
            Some("Bearer "),
            Some("Bearer"),
            Some("Basic the secret of eyes"),
            Some("the secret of eyes"),
        ] {
            assert_eq!(caller(none).unwrap_err(), 401, "{none:?}");
        }
        let eyes = caller(Some("Bearer the secret of eyes")).unwrap();
        assert_eq!(eyes.actor.0, "token eyes (192.0.2.1)");
        let needs = |caller: &Caller, method| match caller.may(&method) {
            Ok(()) => String::new(),
            Err(refused) => refused.title.rsplit(' ').next().unwrap_or_default().to_owned(),
        };
        assert_eq!(needs(&eyes, Method::HEAD), "");
        assert_eq!(needs(&eyes, Method::PATCH), "operate");
        assert_eq!(needs(&eyes, Method::POST), "admin");
        let hands = caller(Some("bearer the secret of hands")).unwrap();
        assert_eq!(needs(&hands, Method::PATCH), "");
        assert_eq!(needs(&hands, Method::DELETE), "admin");
        assert_eq!(hands.must_be_local().unwrap_err().status, 403);
        let local = Caller::on_socket(Actor("uid 0".to_owned()));
        assert!(local.may(&Method::POST).is_ok() && local.must_be_local().is_ok());
    }

    #[test]
    fn a_page_of_a_browser_is_refused_whatever_it_brings() {
        let headers = HeaderMap::from_iter([
            (header::ORIGIN, HeaderValue::from_static("null")),
            (header::AUTHORIZATION, HeaderValue::from_static("Bearer a")),
        ]);
        let refused = Caller::over_tcp(&[], "127.0.0.1".parse().unwrap(), &headers).unwrap_err();
        assert_eq!(refused.status, 403);
    }
}
