//! The files that a model names, looked at where its own mistakes keep it from being compiled, so
//! that all mistakes are told at once.

use std::collections::HashSet;
use std::sync::Arc;

use super::certificates::load;
use super::compile::wrong_tls;
use super::error_page::Shelf;
use crate::config::{Model, Report};
use crate::tls::client::ClientTls;

/// Reports each file of a listener, route or pool that cannot be used.
pub fn look(model: &Model, report: &mut Report) {
    let mut found = Report::new(report.name.clone(), Arc::clone(&report.text));
    let mut shelf = Shelf::default();
    for listener in &model.listeners {
        if let Some(tls) = &listener.tls {
            load(tls, &mut found);
        }
        shelf.pages(&listener.error_pages, &mut found);
    }
    for route in &model.routes {
        shelf.pages(&route.error_pages, &mut found);
    }
    for pool in &model.pools {
        if let Some(tls) = &pool.tls
            && let Err(problem) = ClientTls::new(tls, pool.http2)
        {
            wrong_tls(pool, tls, &problem, &mut found);
        }
    }
    // What is no name of a file has been told already.
    let told: HashSet<_> = report.mistakes.iter().map(|mistake| mistake.place.clone()).collect();
    let news = found.mistakes.into_iter().filter(|mistake| !told.contains(&mistake.place));
    report.mistakes.extend(news);
}

#[cfg(test)]
mod tests {
    use crate::config::{ProcessEnvironment, load as load_file};

    #[test]
    fn missing_files_are_told_with_the_other_mistakes_and_not_twice() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ostler.toml");
        let text = "[listeners.web]\nbind = [\"127.0.0.1:0\"]\n\
            tls.certificates = [{ cert = \"no.crt\", key = \"no.key\" },\n\
            { cert = \"\", key = \"no.key\" }]\n\
            error_pages = { \"503\" = \"no.html\" }\n\
            [[routes]]\npool = \"shop\"\npolcy = 1\n\
            [pools.shop]\ntls = { ca = \"no.pem\" }\nbackends = [\n\
            { id = \"a\", address = \"nonsense\" },\n\
            { id = \"a\", address = \"127.0.0.1:1\" }]\n";
        std::fs::write(&path, text).unwrap();
        let report = load_file(&path, &ProcessEnvironment, &super::look).unwrap_err();
        let told = report.render(false);
        for wrong in [
            "no.crt",
            "no.html",
            "no.pem",
            "unknown key `polcy`",
            "`nonsense` is no address",
            "two backends of this pool have the id",
            "cert is empty",
        ] {
            assert!(told.contains(wrong), "{wrong} in {told}");
        }
        assert_eq!(told.matches("cannot read the certificate").count(), 1, "{told}");
        assert_eq!(told.matches("cannot read the key").count(), 2, "{told}");
    }
}
