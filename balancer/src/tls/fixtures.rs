//! Certificates for tests: issued by themselves, in a folder that goes with them.

use rcgen::{CertificateParams, KeyPair};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

pub struct Folder(tempfile::TempDir);

impl Folder {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    /// Writes `NAME.crt` and `NAME.key`.
    pub fn issue(&self, name: &str, names: &[&str], days: i64) {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(names).unwrap();
        let moment = |days: i64| {
            let offset = Duration::from_secs(days.unsigned_abs() * 86_400);
            if days < 0 { SystemTime::now() - offset } else { SystemTime::now() + offset }.into()
        };
        params.not_before = moment(-400);
        params.not_after = moment(days);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        self.write(&format!("{name}.crt"), &certificate.pem());
        self.write(&format!("{name}.key"), &key.serialize_pem());
    }
}
