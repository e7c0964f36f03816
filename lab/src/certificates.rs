//! A folder of certificates that were issued by themselves, for a balancer that serves TLS and for clients that trust
//! them.

use crate::cleanup::{self, Made};
use anyhow::Result;
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub struct Certificates(PathBuf);

pub type TlsClient = StreamOwned<ClientConnection, TcpStream>;

impl Certificates {
    pub fn new() -> Result<Self> {
        let directory = std::env::temp_dir().join(cleanup::unique_name());
        cleanup::make(Made::Directory(directory.clone()), || std::fs::create_dir_all(&directory))?;
        Ok(Self(directory))
    }

    pub fn directory(&self) -> &Path {
        &self.0
    }

    pub fn certificate(&self, name: &str) -> PathBuf {
        self.0.join(format!("{name}.crt"))
    }

    pub fn key(&self, name: &str) -> PathBuf {
        self.0.join(format!("{name}.key"))
    }

    /// A new pair for these DNS names and addresses; replaces what was there, the certificate first.
    pub fn issue(&self, name: &str, names: &[&str]) -> Result<()> {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let key = KeyPair::generate()?;
        let certificate = CertificateParams::new(names)?.self_signed(&key)?;
        for (path, text) in [(self.certificate(name), certificate.pem()), (self.key(name), key.serialize_pem())] {
            let fresh = path.with_extension("new");
            std::fs::write(&fresh, text)?;
            std::fs::rename(fresh, path)?;
        }
        Ok(())
    }

    /// Lines of the balancer's configuration.
    pub fn config(&self, names: &[&str]) -> String {
        let list = |path: &dyn Fn(&str) -> PathBuf| {
            let quoted: Vec<String> =
                names.iter().map(|name| format!("{:?}", path(name).display().to_string())).collect();
            quoted.join(", ")
        };
        let (certificates, keys) = (list(&|name| self.certificate(name)), list(&|name| self.key(name)));
        format!("tls_certificate = [{certificates}]\ntls_key = [{keys}]\n")
    }

    /// A client over an open connection that asks for `server` and trusts this one certificate.
    pub fn client(&self, name: &str, server: &str, stream: TcpStream) -> Result<TlsClient> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(self.certificate(name))?)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let config = builder.with_root_certificates(roots).with_no_client_auth();
        let server = ServerName::try_from(server.to_owned())?;
        Ok(StreamOwned::new(ClientConnection::new(Arc::new(config), server)?, stream))
    }
}

impl Drop for Certificates {
    fn drop(&mut self) {
        cleanup::remove(&Made::Directory(self.0.clone()));
    }
}
