//! The identity of a stream: `vhost/app/stream`, the same in every protocol. A secret in logs.

use std::fmt;

/// `vhost/app/stream`; the vhost is [`StreamKey::DEFAULT_VHOST`] when the host names none.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamKey {
    vhost: String,
    app: String,
    stream: String,
}

impl StreamKey {
    pub const DEFAULT_VHOST: &str = "__defaultVhost__";
    /// Longest canonical form: what `STREAM_NAMES` can hold.
    pub const LEN_MAX: usize = balancer_common::abi::STREAM_NAME_LEN_MAX;

    pub fn vhost(&self) -> &str {
        &self.vhost
    }

    pub fn app(&self) -> &str {
        &self.app
    }

    pub fn stream(&self) -> &str {
        &self.stream
    }
}

/// The canonical form. For the API and the maps; never for a log line.
impl fmt::Display for StreamKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.vhost, self.app, self.stream)
    }
}

/// Redacted: the stream's own name is what lets a stranger publish.
impl fmt::Debug for StreamKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown: String = self.stream.chars().take(2).collect();
        write!(f, "{}/{}/{shown}…", self.vhost, self.app)
    }
}
