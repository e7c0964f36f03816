//! Real origins, each a process on an origin's host, and the registrar that speaks for whatever runs there.

pub mod nginx;
pub mod node_media;
mod registrar;
pub mod rtsp;
pub mod srt;
pub mod ts_listener;

pub use nginx::{NginxOrigin, RTMP_MODULE};
pub use node_media::NodeMedia;
pub use registrar::{Heartbeat, Registrar};
pub use srt::SrtOrigin;
