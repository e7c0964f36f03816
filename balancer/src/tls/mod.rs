//! TLS, terminated in user space: certificates and their renewal, and the stream that decodes.
//!
//! Knows no protocol inside and no flow; rustls does the cryptography.

mod certificates;
mod pair;
mod reload;
mod stream;
mod x509;

#[cfg(test)]
pub(crate) mod fixtures;

pub use pair::{EXPIRES_SOON, Pair, TlsError};
pub use reload::watch;
pub use stream::{HandshakeError, TlsStream};

use balancer_common::abi::ServiceKind;
use certificates::Certificates;
use reload::Stamp;
use rustls::ServerConfig;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

/// First byte of a TLS connection: a handshake record (RFC 8446, section 5.1). No protocol that is served in the clear
/// begins with it.
pub const FIRST_BYTE: u8 = 0x16;

/// A certificate and its key, as the settings name them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PairFiles {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// What new connections are served with. Running ones keep what they began with.
pub struct Tls {
    files: Vec<PairFiles>,
    current: RwLock<Configs>,
    /// Of the files, when they were read last, well or not.
    seen: Mutex<Vec<Stamp>>,
}

struct Configs {
    /// HTTP names itself in the handshake (RFC 7301), and more than HTTP/1.1 is not spoken.
    http: Arc<ServerConfig>,
    plain: Arc<ServerConfig>,
}

impl Tls {
    /// Reads all files. `None` when the settings name none.
    pub fn open(certificates: &[PathBuf], keys: &[PathBuf]) -> Result<Option<Arc<Self>>, TlsError> {
        let files = pair_files(certificates, keys);
        if files.is_empty() {
            return Ok(None);
        }
        let seen = reload::stamps(&files);
        let current = Configs::read(&files)?;
        Ok(Some(Arc::new(Self { files, current: RwLock::new(current), seen: Mutex::new(seen) })))
    }

    /// For a connection that begins now on a port of this kind.
    pub fn config(&self, kind: ServiceKind) -> Arc<ServerConfig> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        match kind {
            ServiceKind::Http | ServiceKind::Api => current.http.clone(),
            _ => current.plain.clone(),
        }
    }

    /// Reads all files again. What is wrong leaves everything as it is.
    pub fn reload(&self) -> Result<(), TlsError> {
        let seen = reload::stamps(&self.files);
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = seen;
        let fresh = Configs::read(&self.files)?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        Ok(())
    }

    /// Whether a file is another than when it was read last.
    pub fn is_stale(&self) -> bool {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) != reload::stamps(&self.files)
    }
}

/// The settings promise one key for each certificate.
pub fn pair_files(certificates: &[PathBuf], keys: &[PathBuf]) -> Vec<PairFiles> {
    let pairs = certificates.iter().zip(keys);
    pairs.map(|(certificate, key)| PairFiles { certificate: certificate.clone(), key: key.clone() }).collect()
}

impl Configs {
    fn read(files: &[PairFiles]) -> Result<Self, TlsError> {
        let pairs = files.iter().map(Pair::read).collect::<Result<Vec<_>, _>>()?;
        for pair in &pairs {
            pair.log();
        }
        let mut config = pair::server_config(Arc::new(Certificates::new(pairs)))?;
        let plain = Arc::new(config.clone());
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { http: Arc::new(config), plain })
    }
}
