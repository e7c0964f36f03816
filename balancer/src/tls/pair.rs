//! One certificate with its key, read from two PEM files and found to belong together.

use super::PairFiles;
use super::x509::{self, Facts};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::ResolvesServerCert;
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls::{InconsistentKeys, ServerConfig, crypto::ring};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use std::{fs, io};
use tracing::{info, warn};

/// A file that is larger than this holds something else.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// From here on an operator should know. Certificates that renew themselves do so a month ahead.
pub const EXPIRES_SOON: Duration = Duration::from_secs(14 * 86_400);

/// Each has a [`TlsError::remedy`].
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("{path} cannot be read: {error}")]
    Unreadable { path: PathBuf, error: io::Error },
    #[error("{path} is not PEM: {what}")]
    NotPem { path: PathBuf, what: String },
    #[error("{path} holds no certificate")]
    NoCertificate { path: PathBuf },
    #[error("{path} holds no private key")]
    NoKey { path: PathBuf },
    #[error("the key in {path} is encrypted")]
    EncryptedKey { path: PathBuf },
    #[error("{key} is not the key of {certificate}")]
    Mismatch { certificate: PathBuf, key: PathBuf },
    #[error("{certificate} with {key} cannot be used: {error}")]
    Unusable { certificate: PathBuf, key: PathBuf, error: rustls::Error },
    #[error("TLS cannot be set up: {0}")]
    Setup(rustls::Error),
}

impl TlsError {
    pub fn remedy(&self) -> String {
        match self {
            Self::Unreadable { .. } => {
                "tls_certificate and tls_key name files that the balancer's user may read".into()
            }
            Self::NotPem { .. } => {
                "it should hold what stands between lines -----BEGIN …----- and -----END …-----".into()
            }
            Self::NoCertificate { .. } => {
                "the server's own certificate comes first, then those that sign it (fullchain.pem)".into()
            }
            Self::NoKey { .. } => "it should have a line -----BEGIN PRIVATE KEY-----".into(),
            Self::EncryptedKey { path } => {
                format!("`openssl pkey -in {} -out FILE` writes it without its passphrase", path.display())
            }
            Self::Mismatch { .. } => "tls_key names the keys in the order of tls_certificate, and the server's own \
                                      certificate is the first of its file"
                .into(),
            Self::Unusable { .. } => "ECDSA (P-256, P-384), Ed25519 and RSA keys from 2048 bits on can be".into(),
            Self::Setup(_) => "this is a bug of the balancer's".into(),
        }
    }
}

pub struct Pair {
    pub files: PairFiles,
    pub facts: Facts,
    pub(super) certified: Arc<CertifiedKey>,
}

impl Pair {
    pub fn read(files: &PairFiles) -> Result<Self, TlsError> {
        let chain = certificates(&files.certificate)?;
        let key = key(&files.key)?;
        let (certificate, key_file) = (files.certificate.clone(), files.key.clone());
        let facts = chain.first().and_then(|leaf| x509::facts(leaf)).ok_or_else(|| {
            let what = "its first certificate is no X.509 certificate".to_owned();
            TlsError::NotPem { path: certificate.clone(), what }
        })?;
        let certified = match CertifiedKey::from_der(chain, key, &ring::default_provider()) {
            Ok(certified) => Arc::new(certified),
            Err(rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => {
                return Err(TlsError::Mismatch { certificate, key: key_file });
            }
            Err(error) => return Err(TlsError::Unusable { certificate, key: key_file, error }),
        };
        Ok(Self { files: files.clone(), facts, certified })
    }

    /// `None`: it has expired.
    pub fn valid_for(&self, now: SystemTime) -> Option<Duration> {
        (SystemTime::UNIX_EPOCH + Duration::from_secs(self.facts.not_after_s)).duration_since(now).ok()
    }

    pub(super) fn log(&self) {
        let (file, names) = (self.files.certificate.display(), self.facts.names.join(" "));
        match self.valid_for(SystemTime::now()) {
            None => warn!(%file, names, "the certificate has expired: clients will refuse it until it is renewed"),
            Some(left) if left < EXPIRES_SOON => {
                warn!(%file, names, days = left.as_secs() / 86_400, "the certificate expires soon");
            }
            Some(left) => info!(%file, names, days = left.as_secs() / 86_400, "certificate"),
        }
    }
}

/// TLS 1.2 and 1.3 with forward secrecy and authenticated encryption only: rustls has nothing else. Tickets are of this
/// configuration alone, so that nobody resumes a session that began with a certificate which has been replaced.
pub(super) fn server_config(resolver: Arc<dyn ResolvesServerCert>) -> Result<ServerConfig, TlsError> {
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider).with_protocol_versions(&[&TLS13, &TLS12]);
    let mut config = builder.map_err(TlsError::Setup)?.with_no_client_auth().with_cert_resolver(resolver);
    config.ticketer = ring::Ticketer::new().map_err(TlsError::Setup)?;
    Ok(config)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let text = read(path)?;
    let chain: Result<Vec<_>, pem::Error> = CertificateDer::pem_slice_iter(&text).collect();
    let chain = chain.map_err(|e| TlsError::NotPem { path: path.to_owned(), what: e.to_string() })?;
    if chain.is_empty() { Err(TlsError::NoCertificate { path: path.to_owned() }) } else { Ok(chain) }
}

fn key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let text = read(path)?;
    let path = path.to_owned();
    if String::from_utf8_lossy(&text).lines().any(|line| line.contains("ENCRYPTED")) {
        return Err(TlsError::EncryptedKey { path });
    }
    PrivateKeyDer::from_pem_slice(&text).map_err(|error| match error {
        pem::Error::NoItemsFound => TlsError::NoKey { path },
        error => TlsError::NotPem { path, what: error.to_string() },
    })
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    let unreadable = |error| TlsError::Unreadable { path: path.to_owned(), error };
    let metadata = fs::metadata(path).map_err(unreadable)?;
    if !metadata.is_file() || metadata.len() > FILE_BYTES_MAX {
        return Err(unreadable(io::Error::other(format!("it is no file of at most {FILE_BYTES_MAX} bytes"))));
    }
    fs::read(path).map_err(unreadable)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::fixtures::Folder;

    fn read(folder: &Folder, certificate: &str, key: &str) -> Result<Pair, String> {
        let files = PairFiles { certificate: folder.path(certificate), key: folder.path(key) };
        Pair::read(&files).map_err(|e| e.to_string().replace(&folder.path("").display().to_string(), ""))
    }

    #[test]
    fn a_pair_knows_its_names_and_its_end() {
        let folder = Folder::new();
        folder.issue("a", &["a.test", "*.b.test"], 30);
        let pair = read(&folder, "a.crt", "a.key").unwrap();
        assert_eq!(pair.facts.names, ["a.test", "*.b.test"]);
        let left = pair.valid_for(SystemTime::now()).unwrap();
        assert!((29..=30).contains(&(left.as_secs() / 86_400)), "{left:?}");
        folder.issue("old", &["a.test"], -1);
        assert_eq!(read(&folder, "old.crt", "old.key").unwrap().valid_for(SystemTime::now()), None);
    }

    #[test]
    fn what_is_wrong_is_named_with_its_file_and_a_remedy() {
        let folder = Folder::new();
        folder.issue("a", &["a.test"], 30);
        folder.issue("b", &["b.test"], 30);
        folder.write("empty", "");
        folder.write("cut", "-----BEGIN CERTIFICATE-----\nMIIB\n");
        folder.write("no-x509", "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n");
        folder.write("locked", "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIB\n-----END ENCRYPTED PRIVATE KEY-----\n");
        folder.write("odd", "-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----\n");
        for (certificate, key, expected) in [
            ("none", "a.key", "none cannot be read: No such file"),
            ("a.crt", "none", "none cannot be read: No such file"),
            ("empty", "a.key", "empty holds no certificate"),
            ("a.key", "a.key", "a.key holds no certificate"),
            ("cut", "a.key", "cut is not PEM: "),
            ("no-x509", "a.key", "no-x509 is not PEM: its first certificate is no X.509"),
            ("a.crt", "empty", "empty holds no private key"),
            ("a.crt", "a.crt", "a.crt holds no private key"),
            ("a.crt", "locked", "the key in locked is encrypted"),
            ("a.crt", "odd", "a.crt with odd cannot be used: "),
            ("a.crt", "b.key", "b.key is not the key of a.crt"),
        ] {
            let found = read(&folder, certificate, key).err().expect(expected);
            assert!(found.starts_with(expected), "{found}");
        }
    }
}
