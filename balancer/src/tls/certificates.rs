//! Which certificate a client gets: by the server name that it asks for, the first one if it asks for none that is here.

use super::pair::Pair;
use rustls::SignatureScheme;
use rustls::client::verify_server_name;
use rustls::pki_types::ServerName;
use rustls::server::{ClientHello, ParsedCertificate, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use std::fmt;
use std::sync::Arc;

pub struct Certificates(Vec<Pair>);

impl Certificates {
    pub fn new(pairs: Vec<Pair>) -> Self {
        Self(pairs)
    }

    /// Among those for the name, the first whose key the client can check: an RSA one may stand beside an ECDSA one.
    fn choose(&self, name: Option<&str>, schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let name = name.and_then(|name| ServerName::try_from(name).ok());
        let named = || self.0.iter().filter(|pair| name.as_ref().is_some_and(|name| is_for(pair, name)));
        let usable = |pair: &&Pair| pair.certified.key.choose_scheme(schemes).is_some();
        let chosen = named().find(usable).or_else(|| named().next());
        let chosen = chosen.or_else(|| self.0.iter().find(usable)).or(self.0.first());
        chosen.map(|pair| pair.certified.clone())
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.choose(hello.server_name(), hello.signature_schemes())
    }
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|pair| &pair.files.certificate)).finish()
    }
}

/// By subject alternative names, wildcards included, as a client would check.
fn is_for(pair: &Pair, name: &ServerName<'_>) -> bool {
    let parsed = pair.certified.end_entity_cert().and_then(ParsedCertificate::try_from);
    parsed.is_ok_and(|certificate| verify_server_name(&certificate, name).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::PairFiles;
    use crate::tls::fixtures::Folder;

    #[test]
    fn the_name_picks_and_the_first_stands_in() {
        let folder = Folder::new();
        let pairs = [("a", &["a.test"][..]), ("b", &["b.test", "*.b.test"]), ("c", &["x.b.test"])];
        let pairs = pairs.map(|(file, names)| {
            folder.issue(file, names, 30);
            let (certificate, key) = (folder.path(&format!("{file}.crt")), folder.path(&format!("{file}.key")));
            Pair::read(&PairFiles { certificate, key }).unwrap()
        });
        let certified: Vec<_> = pairs.iter().map(|pair| pair.certified.clone()).collect();
        let all = Certificates::new(pairs.into());
        for (name, expected) in [
            (Some("a.test"), 0),
            (Some("A.TEST"), 0),
            (Some("b.test"), 1),
            (Some("y.b.test"), 1),
            // In the order of the settings.
            (Some("x.b.test"), 1),
            (Some("z.y.b.test"), 0),
            (Some("elsewhere.test"), 0),
            (Some("not a name"), 0),
            (None, 0),
        ] {
            let chosen = all.choose(name, &[SignatureScheme::ECDSA_NISTP256_SHA256]).unwrap();
            assert!(Arc::ptr_eq(&chosen, &certified[expected]), "{name:?}");
        }
    }
}
