//! How this process names itself where SRS does: in its hooks and in the answers of its HTTP API.

use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

pub struct Identity {
    /// The host: the same after a restart.
    pub server: String,
    /// This run.
    pub service: String,
    pub pid: String,
}

impl Identity {
    pub fn get() -> &'static Self {
        static IDENTITY: OnceLock<Identity> = OnceLock::new();
        IDENTITY.get_or_init(Self::new)
    }

    fn new() -> Self {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let host = host.trim();
        let server = if host.is_empty() { "balancer".to_owned() } else { format!("balancer-{host}") };
        let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let pid = std::process::id();
        Self { server, service: format!("{:x}", started.as_millis() ^ u128::from(pid)), pid: pid.to_string() }
    }
}
